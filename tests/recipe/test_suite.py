"""The suite: everything once, stopped and gone on, nothing old taken for new; planted truths."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import latentwire.eval.baselines as baselines
import latentwire.eval.runner as runner
from latentwire import Task, TrainConfig, Wire, load_task
from latentwire.core.errors import BridgeError, UnknownNameError, UsageError
from latentwire.core.progress import Progress
from latentwire.data.rows import read_csv
from latentwire.eval.baselines import Plan, run_baselines
from latentwire.eval.method import Method, Prediction
from latentwire.eval.results import Results
from latentwire.eval.statistics import compare, holm
from latentwire.methods.fewshot import FewShot
from latentwire.methods.learned_prefix import PrefixBlind
from latentwire.methods.text_relay import TextRelay
from latentwire.methods.zeroshot import ZeroShot
from latentwire.models import LanguageModel, Receiver
from latentwire.models.fake import fake_model

SHORT = TrainConfig(steps=2, batch_size=4, eval_every=2, warmup_steps=1, init="fresh")
QUICK: dict[str, Any] = {
    "prompt_val_limit": 4,
    "options": {"relay_tokens": 4, "shots": 1},
}


@pytest.fixture
def lms(own_cache: Path) -> tuple[LanguageModel, LanguageModel]:
    return fake_model("fake-llama"), fake_model("fake-gemma")


def _run(
    lms: tuple[LanguageModel, LanguageModel], task: Task, out: Path, *names: str, **plan: Any
) -> Results:
    given: dict[str, Any] = {"methods": names, "seeds": (0, 1), "training": SHORT, **QUICK}
    given = {**given, "soft_tokens": 4, "layer": 2, **plan}
    return run_baselines(lms, task, out, Plan(**given), progress=Progress())


def test_every_method_answers_every_example_once_for_each_seed(
    lms: tuple[LanguageModel, LanguageModel], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task = make_task(16)
    found = _run(lms, task, tmp_path / "s", "bridge", "zero", "linear_probe", "zeroshot_receiver")
    seeds = {name: row.metrics["acc"].n_seeds for name, row in found.methods.items()}
    assert seeds == {"bridge": 2, "zero": 2, "linear_probe": 2, "zeroshot_receiver": 1}
    ids = [example.id for example in task.split("test")]
    for path in ("seed-0/predictions.bridge.jsonl", "predictions.zeroshot_receiver.jsonl"):
        rows = [json.loads(line) for line in (tmp_path / "s" / path).read_text().splitlines()]
        assert [row["id"] for row in rows] == ids
    assert [c.b for c in found.comparisons] == ["zero", "linear_probe", "zeroshot_receiver"]
    assert all(c.p_adjusted is not None for c in found.comparisons)
    kept = json.loads((tmp_path / "s" / "results.json").read_text())
    assert {v["rival"] for v in kept["verdicts"]} == {"zero", "linear_probe", "zeroshot_receiver"}


def test_the_scores_alone_make_figures_and_tests_again(
    lms: tuple[LanguageModel, LanguageModel], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task = make_task(16)
    names = ("bridge", "random", "text_relay", "zeroshot_receiver")
    found = _run(lms, task, tmp_path / "s", *names, relay_limit=5)
    rows = list(read_csv(tmp_path / "s" / "scores.csv"))
    assert [row["id"] for row in rows] == [example.id for example in task.split("test")]
    columns = [*("bridge/0", "bridge/1", "random/0", "random/1"), "text_relay", "zeroshot_receiver"]
    assert list(rows[0]) == ["id", *columns]
    means: dict[str, dict[str, float]] = {}
    for name in names:
        own = [column for column in columns if column.split("/")[0] == name]
        asked = [row for row in rows if row[own[0]]]
        means[name] = {row["id"]: sum(float(row[c]) for c in own) / len(own) for row in asked}
        accuracy = sum(means[name].values()) / len(asked)
        assert found.methods[name].metrics["acc"].value == pytest.approx(accuracy)
    assert len(means["text_relay"]) == 5
    again = [compare("bridge", name, means["bridge"], means[name]) for name in names[1:]]
    assert holm([c for c in again if c]) == found.comparisons


def test_what_is_done_is_not_run_again(
    lms: tuple[LanguageModel, LanguageModel],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, names = make_task(8), ("bridge", "zeroshot_receiver")
    first = _run(lms, task, tmp_path / "s", *names)
    asked: list[str] = []
    plain = ZeroShot.predict

    def predict(self: ZeroShot, *arguments: Any, **more: Any) -> list[Prediction]:
        asked.append(self.name)
        return plain(self, *arguments, **more)

    monkeypatch.setattr(ZeroShot, "predict", predict)
    again = _run(lms, task, tmp_path / "s", *names)
    assert not asked and again.methods == first.methods
    assert again.asked == first.asked and again.notes == first.notes
    assert any("messages are written as" in note for note in again.notes)
    _run(lms, task, tmp_path / "s", *names, prompt_val_limit=3)
    assert asked  # another plan: old answers are not taken for new ones


def test_what_is_added_later_finds_the_choices_of_what_it_builds_on(
    lms: tuple[LanguageModel, LanguageModel],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = make_task(16)
    built_on = ("zeroshot_sender", "zeroshot_receiver", "fewshot_sender", "text_relay")
    later = ("sender_label", "ensemble", "same_bytes_text")
    whole = _run(lms, task, tmp_path / "whole", "bridge", *built_on, *later)
    _run(lms, task, tmp_path / "s", "bridge", *built_on)
    prepared: list[str] = []

    def watched(plain: Callable[..., None]) -> Callable[..., None]:
        def prepare(self: Method, progress: Progress) -> None:
            prepared.append(self.name)
            plain(self, progress)

        return prepare

    for kind in (FewShot, ZeroShot, TextRelay):
        monkeypatch.setattr(kind, "prepare", watched(kind.prepare))
    found = _run(lms, task, tmp_path / "s", "bridge", *built_on, *later)
    assert not prepared
    assert found.methods == whole.methods and found.comparisons == whole.comparisons
    # Choices of another form are not taken.
    other_forms = {"fewshot_sender": {"shown": ["another"]}, "zeroshot_*": {"val_score": [{}]}}
    for pattern, form in other_forms.items():
        for record in (tmp_path / "s").glob(f"**/record.{pattern}.json"):
            told = json.loads(record.read_text())
            record.write_text(json.dumps({**told, "settings": {**told["settings"], **form}}))
    for name in ("sender_label", "ensemble"):
        for record in (tmp_path / "s").glob(f"**/record.{name}.json"):
            record.unlink()
    again = _run(lms, task, tmp_path / "s", "bridge", *built_on, *later)
    assert again.comparisons == whole.comparisons
    assert {*prepared} == {"fewshot_sender", "zeroshot_sender", "zeroshot_receiver"}


def test_a_method_of_another_version_does_not_go_on_with_the_old_training(
    lms: tuple[LanguageModel, LanguageModel],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, names = make_task(8), ("bridge", "prefix_blind")
    first = _run(lms, task, tmp_path / "s", *names, seeds=(0,))
    plain = PrefixBlind.changes
    doubled = lambda self: {**plain(self), "lr": 2 * self.lr}  # noqa: E731
    monkeypatch.setattr(PrefixBlind, "changes", doubled)
    monkeypatch.setattr(PrefixBlind, "version", PrefixBlind.version + 1)
    again = _run(lms, task, tmp_path / "s", *names, seeds=(0,))
    scores = [found.methods["prefix_blind"].settings["val"] for found in (first, again)]
    assert scores[0] != scores[1]
    assert again.methods["bridge"] == first.methods["bridge"]


def test_of_all_methods_only_those_without_a_meaning_are_left_out(
    lms: tuple[LanguageModel, LanguageModel],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ["zeroshot_receiver", "fewshot_sender", "bridge"]
    monkeypatch.setattr(baselines, "default_methods", lambda: names)
    long = make_task(8)
    long = Task(long.spec.model_copy(update={"labels": ["red" * 90, "blue" * 70]}), long.base)
    found = _run(lms, long, tmp_path / "s", methods=None)
    assert found.methods.keys() == {"zeroshot_receiver", "bridge"}
    assert any(note.startswith("fewshot_sender was left out: ") for note in found.notes)
    # A folder that holds a bridge with other settings is the user's to mend: nothing is left out.
    with pytest.raises(UsageError, match="its options differ"):
        _run(lms, long, tmp_path / "s", methods=None, soft_tokens=8)


def test_a_stopped_method_goes_on_behind_its_last_part(
    lms: tuple[LanguageModel, LanguageModel],
    make_task: Callable[..., Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, sizes = make_task(8), []
    whole = _run(lms, task, tmp_path / "whole", "zeroshot_receiver")
    monkeypatch.setattr(runner, "_part_size", lambda context: 10)
    plain = ZeroShot.predict

    def predict(self: ZeroShot, examples: Any, *more: Any, **named: Any) -> list[Prediction]:
        sizes.append(len(examples))
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return plain(self, examples, *more, **named)

    monkeypatch.setattr(ZeroShot, "predict", predict)
    with pytest.raises(KeyboardInterrupt):
        _run(lms, task, tmp_path / "s", "zeroshot_receiver")
    done = _run(lms, task, tmp_path / "s", "zeroshot_receiver")
    assert sizes == [10, 10, 4, 4]
    assert done.methods["zeroshot_receiver"].metrics == whole.methods["zeroshot_receiver"].metrics
    assert not list((tmp_path / "s").glob("partial.*"))
    lines = [
        (tmp_path / name / "predictions.zeroshot_receiver.jsonl").read_text()
        for name in ("whole", "s")
    ]
    assert [json.loads(x)["id"] for x in lines[0].splitlines()] == [
        json.loads(x)["id"] for x in lines[1].splitlines()
    ]


def test_wrong_names_and_seeds_are_told(
    lms: tuple[LanguageModel, LanguageModel], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'zeroshot_sender'"):
        _run(lms, make_task(8), tmp_path / "s", "zeroshot_sendr")
    with pytest.raises(UsageError, match="one or more different numbers"):
        _run(lms, make_task(8), tmp_path / "s", "bridge", seeds=(1, 1))


def test_a_wrong_bridge_of_another_task_is_told_before_anything_is_trained(
    lms: tuple[LanguageModel, LanguageModel], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task = make_task(8)
    _run(lms, task, tmp_path / "own", "bridge", seeds=(0,))
    wrong = (
        (tmp_path / "nowhere", BridgeError, "nowhere"),
        (tmp_path / "own/seed-0", UsageError, "was trained on 'colours' itself"),
    )
    for run, error, told in wrong:
        with pytest.raises(error, match=told):
            _run(lms, task, tmp_path / "s", "bridge", "other_task", other_run=run)
        assert not (tmp_path / "s").exists()


def test_another_bridge_of_another_task_changes_its_own_answers_alone(
    lms: tuple[LanguageModel, LanguageModel], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    task = make_task(8)
    other = Task(task.spec.model_copy(update={"name": "other"}), task.base)
    _run(lms, other, tmp_path / "other", "bridge", seeds=(5, 6))

    def written(run: Path) -> list[int]:
        _run(lms, task, tmp_path / "s", "bridge", "other_task", seeds=(0,), other_run=run)
        seed = tmp_path / "s/seed-0"
        names = ("bridge", "other_task")
        return [(seed / f"predictions.{name}.jsonl").stat().st_mtime_ns for name in names]

    first = written(tmp_path / "other/seed-5")
    second = written(tmp_path / "other/seed-6")
    assert second[0] == first[0] and second[1] > first[1]
    (tmp_path / "other").rename(tmp_path / "moved")
    assert written(tmp_path / "moved/seed-6") == second


def test_writing_methods_answer_a_sample_of_the_sample(
    lms: tuple[LanguageModel, LanguageModel], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    names = ("zeroshot_receiver", "text_relay")
    found = _run(lms, make_task(8), tmp_path / "s", *names, limit=12, relay_limit=5)
    sizes = {name: row.metrics["acc"].n for name, row in found.methods.items()}
    assert sizes == {"zeroshot_receiver": 12, "text_relay": 5}
    assert found.comparisons[0].n == 5
    assert "text_relay answered a seeded random sample of 5 of the 12 test examples" in found.notes


# -- planted truths ---------------------------------------------------------------------------

PLANTED = """\
name: planted
version: 1
kind: choice
metric: acc
labels: [{labels}]
source:
  files: {{train: train.csv, val: val.csv, test: test.csv}}
splits: {{train: train, val: val, test: test}}
example: {{context: "{{text}}", question: "{{question}}", target: label, target_values: [{labels}]}}
prompts:
  - "{{context}}\\n{{question}}"
  - "{{question}}\\n{{context}}\\nIt is"
  - "{{context}} {{question}}"
relay_prompts: ["Sum up: {{context}}", "Note: {{context}}", "Facts: {{context}}"]
sender_prompt_aware: "{{context}}"
max_context_tokens: 24
"""
SPLITS = ("train", "val", "test")
LEARN = TrainConfig(steps=60, batch_size=16, lr=5e-3, eval_every=20, warmup_steps=5)
PLANNED: dict[str, Any] = {"seeds": (0,), "training": LEARN, "setting": "split"}
PROMPT = "{question}\n{context}\nIt is"
BLIND = ("zero", "random", "shuffled", "mean", "prefix_blind")


def _planted(
    folder: Path,
    labels: tuple[str, str],
    label_of: Callable[[str, str, int], int],
    n_test: int = 400,
) -> Task:
    """A task whose context is a word of fire or water, beside a question."""
    folder.mkdir(parents=True, exist_ok=True)
    words = (("fire", "flame", "burn", "blaze"), ("sea", "rain", "lake", "river"))
    number = 0
    for split, n in zip(SPLITS, (96, 40, n_test)):
        rows = ["text,question,label"]
        for _ in range(n):
            side = number % 2
            text = f"{words[side][number // 2 % 4]} {words[side][number // 8 % 4]} {number}"
            question = f"Which of both is number {number * 7919 % 9973}?"
            rows.append(f"{text},{question},{labels[label_of(text, question, side)]}")
            number += 1
        (folder / f"{split}.csv").write_text("\n".join(rows) + "\n")
    (folder / "planted.yaml").write_text(PLANTED.format(labels=", ".join(labels)))
    return load_task(folder / "planted.yaml")


def test_what_only_the_sender_knows_is_communicated(
    lms: tuple[LanguageModel, LanguageModel], tmp_path: Path
) -> None:
    task = _planted(tmp_path / "task", ("red", "blue"), lambda text, question, side: side)
    found = _run(
        lms, task, tmp_path / "s", "bridge", *BLIND, seeds=(0,), training=LEARN, setting="split"
    )
    score = {name: row.metrics["acc"] for name, row in found.methods.items()}
    assert score["bridge"].value > 0.95
    for name in BLIND:
        assert score[name].ci_low <= 0.5 <= score[name].ci_high, name
    assert found.verdicts[0].answer == "yes"


def test_what_the_receiver_knows_itself_is_not_communicated(
    lms: tuple[LanguageModel, LanguageModel], tmp_path: Path
) -> None:
    # The right answer is what the receiver says when it is told nothing: its question alone.
    plain = _planted(tmp_path / "plain", ("red", "blue"), lambda text, question, side: 0)
    wire = Wire.build(*lms, soft_tokens=4, layer=2, setting="split", prompt=PROMPT)
    said: dict[str, int] = {}
    for split in SPLITS:
        examples = list(plain.split(split))  # type: ignore[call-overload]
        nothing = torch.zeros(len(examples), 4, lms[1].width)
        for example, answer in zip(examples, wire.respond(plain, examples, nothing)):
            said[example.question] = int(answer.scores[1] > answer.scores[0])
    task = _planted(tmp_path / "task", ("red", "blue"), lambda text, question, side: said[question])
    found = _run(
        lms,
        task,
        tmp_path / "s",
        *("bridge", *BLIND),
        prompt=PROMPT,
        **PLANNED,
    )
    assert found.methods["zero"].metrics["acc"].value == 1.0
    assert found.verdicts[0].answer == "no"


def test_a_label_that_is_all_there_is_ties_the_bridge(
    lms: tuple[LanguageModel, LanguageModel], tmp_path: Path
) -> None:
    labels = _repeated_words(lms[1])
    # Enough examples to tell a tie from a difference of two points.
    task = _planted(tmp_path / "task", labels, lambda text, question, side: side, n_test=1000)
    names = ("bridge", "linear_probe", "sender_label")
    found = _run(lms, task, tmp_path / "s", *names, **PLANNED)
    assert found.methods["sender_label"].metrics["acc"].value > 0.95
    assert found.methods["bridge"].metrics["acc"].value > 0.95
    (verdict,) = [v for v in found.verdicts if v.rival == "sender_label"]
    assert verdict.answer == "no" and "Better than sender_label: no" in verdict.sentence


def _repeated_words(receiver: LanguageModel) -> tuple[str, str]:
    """Two words that this random receiver says again when it is told one of them."""
    words = ("red", "blue", "green", "north", "south", "yes", "no", "cat", "dog", "up", "down")
    reader = Receiver(receiver)
    for a in words:
        for b in words:
            prompts = [receiver.prompt(f"Answer: {word}\nAnswer:") for word in (a, b)]
            ids = [receiver.answer_ids(prompts[0], word) for word in (a, b)]
            first, second = reader.score_choices(prompts, [ids, ids])
            if a != b and first[0] > first[1] and second[1] > second[0]:
                return a, b
    raise AssertionError("this fake says no word again")
