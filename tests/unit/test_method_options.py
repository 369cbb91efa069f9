"""Methods with options as text, and the attributes of methods."""

from __future__ import annotations

from typing import Any

import pytest

from latentwire.core.errors import UnknownNameError, UsageError
from latentwire.eval.method import METHODS
from latentwire.eval.options import check_option, parse_method, split_methods


def test_parse_method_reads_options_in_the_type_of_their_defaults() -> None:
    spec = parse_method("lora:rank=16,lr=3e-3")
    assert spec.method is METHODS.get("lora")
    assert spec.options == {"rank": 16, "lr": 0.003}
    assert spec.name == "lora:lr=0.003,rank=16"
    assert parse_method(spec.name) == spec
    assert parse_method(" Lora ").name == "lora"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("lroa", UnknownNameError, "Unknown method 'lroa'. Did you mean 'lora'"),
        ("lora:rnak=16", UnknownNameError, "Unknown 'lora' option 'rnak'. Did you mean 'rank'"),
        ("bridge:rank=16", UnknownNameError, "Known: none"),
        ("lora:rank", UsageError, "Option 'rank' of method 'lora' needs a value: rank=VALUE"),
        ("lora:rank=1.5", UsageError, "'rank' of method 'lora' is '1.5'; it must be a whole num"),
        ("lora:lr=high", UsageError, "is 'high'; it must be a number"),
    ],
)
def test_parse_method_explains_mistakes(text: str, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        parse_method(text)


def test_split_methods_keeps_options_together() -> None:
    text = "lora:rank=16,lr=0.01, gold,text_relay:relay_tokens=8"
    assert split_methods(text) == ["lora:rank=16,lr=0.01", "gold", "text_relay:relay_tokens=8"]
    assert split_methods("") == []


def test_check_option_knows_the_options_of_all_methods() -> None:
    check_option("shots")
    with pytest.raises(UnknownNameError, match="Did you mean 'shots'"):
        check_option("shot")


def test_methods_names_are_in_table_order_and_can_be_filtered() -> None:
    names = METHODS.names()
    assert names[0] == "bridge" and names[-2:] == ["gold", "uniform"]
    assert METHODS.names(role="control", blind=True) == [
        *("zero", "random", "shuffled", "mean", "prefix_blind")
    ]
    assert METHODS.names(in_eval=True, needs_wire=True) == ["bridge", "zero", "random", "shuffled"]
