"""The verdict says what was planted in the table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from latentwire.eval.statistics import Comparison, compare, holm
from latentwire.eval.verdict import BETTER, COMMUNICATES, Verdict
from latentwire.eval.verdict import verdicts as judge

BLIND = ("zero", "random", "shuffled", "mean", "prefix_blind")
RIVALS = ("sender_label", "linear_probe", "text_relay", "zeroshot_receiver")


def verdicts(comparisons: list[Comparison], **more: Any) -> list[Verdict]:
    return judge(comparisons, blind=BLIND, rivals=RIVALS, **more)


def _table(n: int, shares: Mapping[str, float], seed: int = 0) -> list[Comparison]:
    """Methods of the given accuracies: which examples are hard is shared, the rest is luck."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=n)
    values = {}
    for name, share in shares.items():
        luck = 0.7 * ease + 0.71 * rng.normal(size=n)
        right = luck > np.quantile(luck, 1 - share)
        values[name] = {str(i): float(value) for i, value in enumerate(right)}
    found = [compare("bridge", b, values["bridge"], values[b]) for b in values if b != "bridge"]
    return holm([c for c in found if c is not None])


def _by_rival(comparisons: list[Comparison], margin: float = 0.02) -> dict[str, Verdict]:
    return {v.rival: v for v in verdicts(comparisons, margin=margin)}


def test_a_bridge_that_beats_everything() -> None:
    rivals = {"zero": 0.5, "shuffled": 0.52, **dict.fromkeys(RIVALS, 0.7)}
    found = verdicts(_table(2000, {"bridge": 0.9, **rivals}))
    assert [v.claim for v in found] == [COMMUNICATES, *map(BETTER.format, RIVALS)]
    assert found[0].rival == "shuffled"
    assert {v.answer for v in found} == {"yes"} and {v.n_needed for v in found} == {None}
    assert (
        "Better than sender_label: yes. Difference to sender_label: +20.0 points"
        in found[1].sentence
    )
    assert "p < 0.001, Holm over 6 claims" in found[1].sentence
    assert "detectable" not in found[1].sentence


def test_a_bridge_that_communicates_nothing() -> None:
    found = _by_rival(
        _table(6000, {"bridge": 0.5, "zero": 0.5, "random": 0.49, "zeroshot_receiver": 0.6})
    )
    nothing, worse = found["zero"], found["zeroshot_receiver"]
    assert nothing.claim == COMMUNICATES and nothing.answer == worse.answer == "no"
    assert nothing.ci_high < 0.02 and nothing.detectable is not None
    assert "Communicates information: no, not by 2 points or more" in nothing.sentence
    assert f"detectable difference: {100 * nothing.detectable:.1f} points" in nothing.sentence
    assert "Better than zeroshot_receiver: no, it is significantly worse" in worse.sentence


def test_a_label_that_ties_the_bridge() -> None:
    exact = {"bridge": 0.9, "zero": 0.5, "sender_label": 0.9}
    comparisons = _table(500, exact)
    same = compare("bridge", "sender_label", *[{str(i): i % 10 > 0 for i in range(500)}] * 2)
    assert same is not None
    found = _by_rival(holm([comparisons[0], same]))
    assert found["zero"].answer == "yes"
    assert found["sender_label"].answer == "no"  # the same answers throughout


def test_too_few_examples_to_tell() -> None:
    found = _by_rival(_table(200, {"bridge": 0.82, "zero": 0.5, "sender_label": 0.8}))
    label = found["sender_label"]
    assert label.answer == "cannot tell" and label.n_needed is not None and label.n_needed > 1000
    assert f"not significant; {label.n_needed:,} examples are needed" in label.sentence
    assert "(95 % interval " in label.sentence and "detectable difference" in label.sentence


def test_as_many_examples_as_it_asks_for_do_settle_it() -> None:
    shares = {"bridge": 0.75, "sender_label": 0.72}
    first = _by_rival(_table(300, shares))["sender_label"]
    assert first.answer == "cannot tell" and first.n_needed is not None
    assert first.difference == pytest.approx(0.03)
    again = [
        _by_rival(_table(first.n_needed, shares, seed))["sender_label"].answer for seed in range(5)
    ]
    assert again.count("yes") >= 3


def test_what_it_asks_for_is_always_more_than_there_is() -> None:
    for seed, n in enumerate((100, 300, 600, 1200, 2400)):
        table = _table(n, {"bridge": 0.805, "zero": 0.8, **dict.fromkeys(RIVALS, 0.795)}, seed)
        for verdict in verdicts(table):
            assert (verdict.n_needed is not None) == (verdict.answer == "cannot tell")
            assert verdict.n_needed is None or verdict.n_needed > n


def test_the_margin_decides_what_counts_as_no() -> None:
    table = _table(1500, {"bridge": 0.8, "text_relay": 0.8})
    assert _by_rival(table, margin=0.1)["text_relay"].answer == "no"
    assert _by_rival(table, margin=0.001)["text_relay"].answer == "cannot tell"
    with pytest.raises(ValueError, match="margin"):
        verdicts(table, margin=0)


def test_only_rivals_that_were_run_are_spoken_of() -> None:
    table = _table(100, {"bridge": 0.8, "lora": 0.7, "linear_probe": 0.6})
    assert [v.rival for v in verdicts(table)] == ["linear_probe"]
    assert verdicts(table, bridge="other") == [] and verdicts([]) == []


def test_every_blind_control_can_be_the_strongest() -> None:
    table = _table(300, {"bridge": 0.9, **dict.fromkeys(BLIND, 0.6)})
    for strongest in BLIND:
        raised = [replace(c, difference=0.1) if c.b == strongest else c for c in table]
        assert [v.rival for v in verdicts(raised)] == [strongest]


def test_one_example_settles_nothing() -> None:
    one = compare("bridge", "zero", {"x": 1.0}, {"x": 0.0})
    assert one is not None
    (verdict,) = verdicts(holm([one]))
    assert verdict.answer == "cannot tell" and verdict.detectable is None
    assert "Holm over 1 claim;" in verdict.sentence
    assert "too small to detect any difference" in verdict.sentence


def test_uncorrected_comparisons_are_refused() -> None:
    (corrected,) = _table(50, {"bridge": 0.8, "zero": 0.5})
    for wrong in (
        replace(corrected, p_adjusted=None, correction=None),
        replace(corrected, correction="benjamini_hochberg"),
    ):
        with pytest.raises(ValueError, match="with holm first"):
            verdicts([wrong])


def test_json_holds_the_sentence() -> None:
    (verdict,) = verdicts(_table(100, {"bridge": 0.8, "zero": 0.5}))
    found = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    assert found["sentence"] == verdict.sentence and found["answer"] == "yes"
