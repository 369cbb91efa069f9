"""Detectors of degenerate predictions: a single answer, or answers that ignore the message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from telepathy.experiments.analysis.analyzed_run import SeedAnswers
from telepathy.experiments.analysis.detector import Evidence, detector
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.results import PooledResult
from telepathy.reporting.numbers import percent

COLLAPSED, IGNORED = "collapsed predictions", "message ignored"
_MIN_EXAMPLES = 20
_MIN_TOP_SHARE, _MIN_EXCESS_OVER_TARGETS = 0.95, 0.15
_MIN_AGREEMENT, _MIN_EXCESS_OVER_CHANCE = 0.95, 0.2


@detector(COLLAPSED)
def collapsed(evidence: Evidence) -> Iterator[Finding]:
    """Nearly all predictions are the same although the targets are not."""
    for result in evidence.results:
        if result.is_blind:
            continue
        tops = {seed: _top_prediction(answers) for seed, answers in result.answers.items()}
        bad = {
            seed: top
            for seed, top in tops.items()
            if top[1] >= _MIN_TOP_SHARE and top[1] - top[2] >= _MIN_EXCESS_OVER_TARGETS
        }
        if not bad:
            continue
        seed, (answer, share, right) = next(iter(bad.items()))
        seeds = ", ".join(map(str, sorted(bad)))
        which = "" if len(bad) == len(tops) else f", seed{'s'[: len(bad) > 1]} {seeds}"
        details = []
        agreement = _agreement_with_shuffled(evidence, result, seed) if result.is_bridge else None
        if agreement is not None:
            details.append(
                f"{percent(agreement)} of the answers stay the same with shuffled messages"
                + (": the message has no effect." if agreement >= _MIN_AGREEMENT else ".")
            )
        yield Finding(
            COLLAPSED,
            f"{result.name} on {result.task}{which}: {percent(share)} of the predictions are "
            f"{answer!r}, the correct answer to {percent(right)} of the examples.",
            _keys(result, bad),
            tuple(details),
            (result.task, result.method),
            {"answer": answer, "share": share, "target_share": right, "seeds": sorted(bad)},
        )


@detector(IGNORED, unless=(COLLAPSED,))
def message_ignored(evidence: Evidence) -> Iterator[Finding]:
    """The bridge's answers do not change when messages are shuffled between examples."""
    for result in evidence.results:
        if not result.is_bridge:
            continue
        found = {}
        for seed, answers in result.answers.items():
            agreement = _agreement_with_shuffled(evidence, result, seed)
            if (
                agreement is not None
                and agreement >= _MIN_AGREEMENT
                and agreement - _chance_agreement(answers) >= _MIN_EXCESS_OVER_CHANCE
            ):
                found[seed] = agreement
        if found:
            yield Finding(
                IGNORED,
                f"{result.name} on {result.task}: {percent(min(found.values()))} of the answers "
                "stay the same with the message of another example. Either the soft tokens of all "
                "examples are nearly equal or the receiver does not use them.",
                _keys(result, found),
                about=(result.task, result.method),
                data={"agreement": found},
            )


def _top_prediction(answers: SeedAnswers) -> tuple[object, float, float]:
    """Most common prediction, its share, and the share of examples for which it is correct."""
    n = len(answers.predictions)
    if n < _MIN_EXAMPLES:
        return None, 0.0, 0.0
    top, count = Counter(answers.predictions.values()).most_common(1)[0]
    right = sum(top == t or (isinstance(t, list) and top in t) for t in answers.targets.values())
    return top, count / n, right / n


def _agreement_with_shuffled(evidence: Evidence, bridge: PooledResult, seed: int) -> float | None:
    """Share of a bridge's answers that stay the same with shuffled messages; None if unknown."""
    for result in evidence.results:
        same = (result.task, result.options) == (bridge.task, bridge.options)
        if result.method == "shuffled" and same and seed in result.answers:
            a, b = bridge.answers[seed].predictions, result.answers[seed].predictions
            shared = a.keys() & b.keys()
            if len(shared) >= _MIN_EXAMPLES:
                return sum(bool(a[i] == b[i]) for i in shared) / len(shared)
    return None


def _chance_agreement(answers: SeedAnswers) -> float:
    """Probability that the answers to two random examples are the same."""
    counts, n = Counter(map(str, answers.predictions.values())), len(answers.predictions)
    return sum((count / n) ** 2 for count in counts.values())


def _keys(result: PooledResult, seeds: Collection[int]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(result.runs[s].key for s in result.runs if s in seeds))
