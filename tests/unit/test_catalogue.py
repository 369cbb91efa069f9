"""What a catalogue checks when a class is registered."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from latentwire.core import catalogue as module
from latentwire.core.catalogue import Catalogue
from latentwire.core.errors import ConfigError


def _animals() -> Catalogue[type]:
    return Catalogue("animal", None, "test.animals", name_attribute="name", required=("sound",))


def test_catalogue_sets_the_name_of_a_class() -> None:
    animals = _animals()

    @animals.add("cat")
    class Cat:
        sound = "meow"

    assert animals.get("CAT") is Cat and Cat.name == "cat"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "must define sound as class attributes"),
        ({"sound": "woof", "name": "wolf"}, "has name = 'wolf'"),
    ],
)
def test_catalogue_refuses_an_incomplete_class(attributes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _animals().add("dog")(type("Dog", (), attributes))


def test_catalogue_refuses_a_second_class_of_one_name() -> None:
    animals = _animals()
    animals.add("cat")(type("Cat", (), {"sound": "meow"}))
    with pytest.raises(ConfigError, match=r"'cat' is registered twice: by .*Lion and by .*Cat"):
        animals.add("cat")(type("Lion", (), {"sound": "roar"}))


def test_catalogue_names_an_entry_point_that_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = EntryPoint("ghost", "nowhere:Ghost", "test.animals")
    monkeypatch.setattr(module, "entry_points", lambda group: [broken])
    with pytest.raises(ConfigError, match=r"'ghost = nowhere:Ghost' .* No module named 'nowhere'"):
        _animals().names()
