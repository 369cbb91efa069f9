"""Untrained baselines and controls on fakes: what every one of them must keep to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from latentwire import Task, Wire, load_task, train_bridge
from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.eval.baselines import load_other_wire
from latentwire.eval.context import Context
from latentwire.eval.method import METHODS, Prediction
from latentwire.methods.controls import OtherTask
from latentwire.methods.sender_label import SenderLabel

SILENT = Progress()
WIRED = ("mean", "other_task", "same_bytes_text")
TEXT = (
    *("fewshot_sender", "fewshot_receiver", "sender_label", "oracle_label"),
    *("text_relay", "cot_relay", "compressed_text"),
)
OF_CHOICES = ("ensemble", "routing")

_ITEMS = """\
name: {name}
version: 1
kind: {kind}
metric: {metric}
source: {{files: {{train: items.jsonl, val: items_val.jsonl, test: items_test.jsonl}}}}
example:
  context: "{{text}}\\n{{lettered}}"
  protected: "{{lettered}}"
  question: "{{text}}"
  choices: options
  target: right
prompts:
  - "Question: {{context}}\\nAnswer:"
  - "{{context}}\\nThe answer is"
  - "Q: {{context}}\\nA:"
relay_prompts:
  - "Note: {{context}}\\nNote:"
  - "Sum up: {{context}}\\nSummary:"
  - "Facts: {{context}}\\nFacts:"
sender_prompt_aware: "Question: {{context}}\\nAnswer:"
max_context_tokens: 64
"""

_NAMES = """\
name: names
version: 1
kind: generation
metric: exact_match
source: {files: {train: items.jsonl, val: items_val.jsonl, test: items_test.jsonl}}
example: {context: "{text}", question: "{asked}", references: name}
prompts:
  - "{context}\\nQuestion: {question}\\nAnswer:"
  - "{context}\\n{question} Answer:"
  - "Text: {context}\\nQ: {question}\\nA:"
relay_prompts:
  - "Note on {question}: {context}\\nNote:"
  - "Sum up: {context}\\nSummary:"
  - "Facts of: {context}\\nFacts:"
sender_prompt_aware: "{question} {context}\\nAnswer:"
max_context_tokens: 40
max_new_tokens: 3
stop: ["\\n"]
"""


@pytest.fixture
def items(tmp_path: Path) -> Callable[..., Task]:
    """Tasks whose answers differ from example to example; `names` is answered in writing."""
    things = ("rat", "old horse", "cup", "tall tree", "sea")

    def make(name: str = "items", kind: str = "choice", metric: str = "acc") -> Task:
        start = 0
        for file, count in (("items", 12), ("items_val", 6), ("items_test", 8)):
            rows = [
                {
                    "text": f"Who has {i}?",
                    "options": [things[i % 5], things[(i + 1 + i % 2) % 5], "a thing"],
                    "right": i % 3,
                    "asked": "Who?",
                    "name": things[i % 5],
                }
                for i in range(start, start + count)
            ]
            start += count
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (tmp_path / f"{file}.jsonl").write_text(lines)
        text = _NAMES if name == "names" else _ITEMS.format(name=name, kind=kind, metric=metric)
        (tmp_path / f"{name}.yaml").write_text(text)
        return load_task(tmp_path / f"{name}.yaml")

    return make


@pytest.fixture
def context(
    fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> Callable[..., Context]:
    """Contexts, on request with a hardly trained wire and another task's bridge beside it."""
    colours, wire = make_task(), fake_wire()

    def trained(task: Task) -> Path:
        runs = tmp_path / f"runs-{task.name}"
        other = Task(task.spec.model_copy(update={"name": "other"}), task.base)
        if not runs.is_dir():
            short = {"progress": SILENT, "steps": 1, "batch_size": 4, "init": "fresh"}
            train_bridge(fake_wire(seed=1), other, runs / "other", **short)
            train_bridge(wire, task, runs / "own", **short)
        return runs / "other"

    def make(
        task: Task = colours,
        wired: bool = False,
        options: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Context:
        given: dict[str, Any] = {"prompt_val_limit": 6}
        given["options"] = {"relay_tokens": 6, "shots": 2, "max_bytes": 12, **(options or {})}
        if wired:
            other = Wire.from_pretrained(
                trained(task), sender=wire.sender.lm, receiver=wire.receiver.lm
            )
            given |= {"other": lambda: other, "wire": wire}
        return Context(
            task, wire.sender, wire.receiver, layers=wire.spec.layers, **(given | fields)
        )

    return make


def answer(
    context: Context, name: str, examples: Sequence[Example] | None = None
) -> tuple[Any, list[Prediction]]:
    """A prepared method and its answers, to test by default."""
    method = context.methods.prepared(name, SILENT)
    examples = context.task.split("test")[:8] if examples is None else examples
    return method, method.predict(examples, SILENT)


def same(a: Sequence[Prediction], b: Sequence[Prediction]) -> bool:
    """Whether answers are the same but for rounding."""
    return all(
        (x.id, x.prediction, x.n_bytes, x.text) == (y.id, y.prediction, y.n_bytes, y.text)
        and x.scores == pytest.approx(y.scores, abs=1e-3)
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("name", [*WIRED, *TEXT, *OF_CHOICES])
def test_answers_in_order_whatever_the_order(context: Callable[..., Context], name: str) -> None:
    wired = name in WIRED
    first, again = context(wired=wired), context(wired=wired, batch_size=3)
    examples = first.task.split("test")[:8]
    method, found = answer(first, name)
    assert [p.id for p in found] == [e.id for e in examples]
    assert [p.target for p in found] == [e.target for e in examples]
    assert {p.prediction for p in found} <= {0, 1} and all(len(p.scores) == 2 for p in found)
    assert json.loads(json.dumps(method.settings())) == method.settings()
    assert (method.name, METHODS.get(name)) == (name, type(method))
    _, turned = answer(again, name, examples[::-1])
    assert same(found, turned[::-1])
    fresh = method.predict(examples[:1], SILENT, fresh=True)  # as when it is timed
    assert (fresh[0].prediction, fresh[0].text) == (found[0].prediction, found[0].text)


@pytest.mark.parametrize("name", [*WIRED, *TEXT, *OF_CHOICES])
def test_no_choice_is_made_on_test(
    context: Callable[..., Context], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, split = context(wired=name in WIRED), Task.split

    def guarded(self: Task, which: Any) -> Sequence[Example]:
        assert which != "test"
        return split(self, which)

    monkeypatch.setattr(Task, "split", guarded)
    method = given.methods.prepared(name, SILENT)
    assert method.settings() != {} or name == "same_bytes_text"


@pytest.mark.parametrize("name", [*WIRED, *TEXT, *OF_CHOICES])
@pytest.mark.parametrize("kind", ["choice", "letter"])
def test_choices_that_differ_from_example_to_example(
    context: Callable[..., Context], items: Callable[..., Task], name: str, kind: str
) -> None:
    given = context(items(kind=kind), wired=name in WIRED)
    _, found = answer(given, name)
    assert len(found) == 8 and all(len(p.scores) == 3 for p in found)


@pytest.mark.parametrize("name", [*WIRED, *TEXT])
def test_answers_that_are_written(
    context: Callable[..., Context], items: Callable[..., Task], name: str
) -> None:
    _, found = answer(context(items("names"), wired=name in WIRED), name)
    assert len(found) == 8 and all(isinstance(p.prediction, str) for p in found)


@pytest.mark.parametrize("name", OF_CHOICES)
def test_written_answers_have_no_shares(
    context: Callable[..., Context], items: Callable[..., Task], name: str
) -> None:
    with pytest.raises(UsageError, match=f"{name} needs .* 'names' are written"):
        context(items("names")).methods.prepared(name, SILENT)


@pytest.mark.parametrize("setting", ["blind", "shared"])
@pytest.mark.parametrize("name", ["sender_label", "oracle_label", "compressed_text", "cot_relay"])
def test_other_settings(
    context: Callable[..., Context], items: Callable[..., Task], name: str, setting: str
) -> None:
    assert len(answer(context(items("names"), setting=setting), name)[1]) == 8


@pytest.mark.parametrize("name", WIRED)
def test_a_wire_is_needed(context: Callable[..., Context], name: str) -> None:
    given = context()
    with pytest.raises(UsageError, match=f"'{name}' needs a trained bridge"):
        given.methods.get(name)
    assert METHODS.get(name).needs_wire


def test_a_method_is_prepared_once_and_answers_once(context: Callable[..., Context]) -> None:
    given, asked = context(), []
    method = given.methods.prepared("zeroshot_sender", SILENT)
    assert given.methods.prepared("zeroshot_sender", SILENT) is method
    plain = method.predict

    def counted(examples: Sequence[Example], progress: Progress, *, fresh: bool = False) -> Any:
        asked.append(len(examples))
        return plain(examples, progress, fresh=fresh)

    method.predict = counted  # type: ignore[method-assign]
    test = given.task.split("test")[:8]
    first = given.methods.predictions("zeroshot_sender", test[:5], SILENT)
    both = given.methods.predictions("zeroshot_sender", test[::-1], SILENT)
    assert asked == [5, 3] and [p.id for p in both] == [e.id for e in test[::-1]]
    assert both[:2:-1] == first
    given.methods.predictions("zeroshot_sender", test[:2], SILENT, fresh=True)
    assert asked == [5, 3, 2]


def test_equal_ids_of_two_splits_are_not_mixed_up(
    context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = context()
    a, b = given.task.split("val")[0], given.task.split("val")[1]
    twin = Example(a.id, b.context, b.question, b.choices, b.target, b.references)
    found = [given.methods.predictions("zeroshot_sender", [e], SILENT)[0] for e in (a, twin, b)]
    assert found[1].scores == found[2].scores != found[0].scores


def test_answers_kept_elsewhere_are_taken_in(context: Callable[..., Context]) -> None:
    given, test = context(), context().task.split("test")[:3]
    kept = [Prediction(e.id, 1, e.target or 0, True, scores=(0.0, 1.0)) for e in test]
    given.methods.remember("zeroshot_sender", test, kept)
    assert given.methods.predictions("zeroshot_sender", test, SILENT) == kept
    assert not given.methods._prepared  # no model was asked
    with pytest.raises(UsageError, match="have other ids than the examples"):
        given.methods.remember("zeroshot_sender", test[::-1], kept)


@pytest.mark.parametrize("name", ["sender_label", *OF_CHOICES])
def test_what_is_timed_takes_nothing_from_memory(
    context: Callable[..., Context], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = context()
    method, asked = given.methods.prepared(name, SILENT), []
    if isinstance(method, SenderLabel):
        method.source = "zeroshot_sender"  # a probe asks no receiver
    monkeypatch.setattr(Context, "answer", _counting(Context.answer, asked))
    test = given.task.split("test")[:1]
    method.predict(test, SILENT)
    known = len(asked)
    method.predict(test, SILENT)
    again = len(asked) - known
    method.predict(test, SILENT, fresh=True)
    assert len(asked) - known - again == known > again


def _counting(answer: Callable[..., Any], asked: list[str]) -> Callable[..., Any]:
    def counted(*given: Any, **more: Any) -> Any:
        asked.append(given[5])
        return answer(*given, **more)

    return counted


def test_all_get_the_mean_message(context: Callable[..., Context]) -> None:
    given = context(wired=True)
    method, found = answer(given, "mean")
    assert len({p.scores for p in found}) == 1 and found[0].n_bytes
    bridge = given.methods.get("bridge")
    train = given.train_examples()
    real = method.unpack(bridge.write(train, SILENT))
    assert method.settings() == {"averaged_messages": len(train)}
    torch.testing.assert_close(method.average.norm(dim=-1), real.norm(dim=-1).mean(0))
    cosine = torch.nn.functional.cosine_similarity(method.average, real.mean(0), dim=-1)
    torch.testing.assert_close(cosine, torch.ones_like(cosine))


def test_messages_of_another_task(context: Callable[..., Context]) -> None:
    given = context(wired=True)
    assert given.wire is not None and given.other is not None
    other = given.other()
    method = given.methods.prepared("other_task", SILENT)
    assert isinstance(method, OtherTask)
    assert method.settings()["trained_on"] == ["other"]
    assert method.settings()["fingerprint"] != given.wire.fingerprint
    given.wire.prompts[given.task.name] = given.task.prompts[1]
    _, own = answer(given, "bridge")
    _, found = answer(given, "other_task")
    assert [p.scores for p in own] != [p.scores for p in found]
    # Its own prompt stands around the foreign message.
    test = given.task.split("test")[:8]
    soft = method.unpack(method.write(test, SILENT))
    other.prompts[given.task.name] = given.wire.prompt_builder(given.task).template
    wanted = other.respond(given.task, test, soft)
    for response, p in zip(wanted, found):
        assert p.scores == pytest.approx(response.scores, abs=1e-4)


def test_another_task_must_be_another(context: Callable[..., Context], tmp_path: Path) -> None:
    given = context(wired=True)
    lms = given.sender.lm, given.receiver.lm
    with pytest.raises(UsageError, match="needs a bridge of another task"):
        context(wired=True, other=None).methods.get("other_task")
    runs = tmp_path / f"runs-{given.task.name}"
    assert load_other_wire(runs / "other", given.task, lms).training["steps"] == 1
    with pytest.raises(UsageError, match="was trained on 'colours' itself"):
        load_other_wire(runs / "own", given.task, lms)


def test_another_layer_and_bridge(
    context: Callable[..., Context], fake_wire: Callable[..., Wire], tmp_path: Path
) -> None:
    task = context().task
    other = Task(task.spec.model_copy(update={"name": "deep"}), task.base)
    wire = fake_wire(bridge="deep_prefix", layer=1, soft_tokens=2)
    train_bridge(wire, other, tmp_path / "deep", progress=SILENT, steps=2, batch_size=4)
    given = context(wired=True, other=lambda: wire)
    method, found = answer(given, "other_task")
    assert method.settings()["bridge"] == "deep_prefix" and len(found) == 8
    assert given.layers == (2,)  # and yet the other bridge reads its own layer
    test = task.split("test")[:8]
    soft = wire.soft_tokens(wire.sender.encode([e.context for e in test], (1,)))
    wire.prompts[task.name] = task.prompts[0]
    for response, p in zip(wire.respond(task, test, soft), found):
        assert p.scores == pytest.approx(response.scores, abs=1e-2)  # the message is fp16


def test_what_a_runner_is_told() -> None:
    for name in (*WIRED, *TEXT, *OF_CHOICES):
        method = METHODS.get(name)
        assert method.needs_wire == (name in WIRED), name
        assert method.timed == (name not in ("mean", "other_task", "oracle_label")), name
        assert method.writes == (name in ("text_relay", "cot_relay", "same_bytes_text")), name
        drawn = ("fewshot_sender", "fewshot_receiver", "sender_label", "mean", "other_task")
        assert method.seeded == (name in drawn), name
        assert method.independent, name
