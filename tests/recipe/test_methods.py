"""Contract of methods: every method of the catalogue on a small task."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from latentwire import Task, TrainConfig, Wire, train_bridge
from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, ROLES, Method, Prediction

SILENT = Progress()
SHORT = TrainConfig(steps=2, batch_size=4, eval_every=2, warmup_steps=1, init="fresh")
NAMES = METHODS.names()


@pytest.fixture
def context(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> Callable[..., Context]:
    """Contexts of a wire that was trained for two steps, with a wire of another task."""
    task, wire = make_task(16), fake_wire()

    @cache
    def other() -> Wire:
        unlike = Task(task.spec.model_copy(update={"name": "other"}), task.base)
        train_bridge(fake_wire(seed=1), unlike, tmp_path / "other", config=SHORT, progress=SILENT)
        return Wire.from_pretrained(
            tmp_path / "other", sender=wire.sender.lm, receiver=wire.receiver.lm
        )

    train_bridge(wire, task, tmp_path / "own", config=SHORT, progress=SILENT)

    def make(**fields: Any) -> Context:
        options = {"relay_tokens": 4, "shots": 1, "max_bytes": 12, "rank": 2}
        given = {"prompt_val_limit": 4, "options": options, "other": other, "wire": wire, **fields}
        return Context(task, wire.sender, wire.receiver, layers=wire.spec.layers, **given)

    return make


def _answers(method: Method, n: int = 8) -> list[Prediction]:
    return method.predict(method.context.task.split("test")[:n], SILENT)


def _same(a: list[Prediction], b: list[Prediction]) -> bool:
    """Return whether answers are equal up to rounding, which depends on the batch."""
    return all(
        (x.id, x.n_bytes, x.text) == (y.id, y.n_bytes, y.text)
        and x.scores == pytest.approx(y.scores, abs=1e-3)
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("name", NAMES)
def test_method_describes_itself(name: str) -> None:
    method = METHODS.get(name)
    assert method.name == name and method.role in ROLES
    assert method.about and len(method.about) <= 60 and "\n" not in method.about
    assert len(f"  {name:18}{method.about}") <= 80
    assert {*method.beats} <= {*NAMES}
    assert method.role != "check" or not method.in_eval
    assert all(isinstance(default, int | float | str) for default in method.options().values())


@pytest.mark.parametrize("name", NAMES)
def test_method_answers_in_order_and_repeatably(context: Callable[..., Context], name: str) -> None:
    method = context().methods.prepared(name, SILENT)
    examples = method.context.task.split("test")[:8]
    found = method.predict(examples, SILENT)
    assert [p.id for p in found] == [e.id for e in examples]
    assert [p.target for p in found] == [e.target for e in examples]
    assert all(len(p.scores) == 2 and p.parsed for p in found)
    assert json.loads(json.dumps(method.settings())) == method.settings()
    assert found == [Prediction.from_json(json.loads(json.dumps(p.to_json()))) for p in found]
    if method.independent:
        parts = [method.predict(part, SILENT) for part in (examples[:3], examples[3:])]
        assert _same(found, [*parts[0], *parts[1]])
    else:
        assert found == method.predict(examples, SILENT)
    again = context().methods.prepared(name, SILENT)
    assert _same(found, again.predict(examples, SILENT))
    assert method.settings() == again.settings()


@pytest.mark.parametrize("name", METHODS.names(needs_wire=True))
def test_method_that_needs_a_wire_says_so(context: Callable[..., Context], name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}' needs a trained bridge"):
        context(wire=None).methods.get(name)


@pytest.mark.parametrize("name", METHODS.names(blind=True))
def test_blind_method_ignores_the_text(context: Callable[..., Context], name: str) -> None:
    method = context().methods.prepared(name, SILENT)
    examples = method.context.task.split("test")[:4]
    other = [replace(e, context="sky and sky 1") for e in examples]
    if name == "random":  # the norm of its noise is that of the real messages
        other = examples
    found, changed = method.predict(examples, SILENT), method.predict(other, SILENT)
    if name == "shuffled":
        changed = found  # it sends the messages of the other texts
    assert [p.scores for p in found] == [pytest.approx(p.scores, abs=1e-3) for p in changed]


@pytest.mark.parametrize("name", NAMES)
def test_method_makes_no_choice_on_test(
    context: Callable[..., Context], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, split = context(), Task.split

    def guarded(self: Task, which: Any) -> Any:
        assert which != "test" or self.name != given.task.name
        return split(self, which)

    monkeypatch.setattr(Task, "split", guarded)
    given.methods.prepared(name, SILENT)
