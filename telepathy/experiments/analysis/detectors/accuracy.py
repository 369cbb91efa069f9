"""Detectors of methods that are no better than a guess, and of controls that are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from telepathy.experiments.analysis.detector import Evidence, detector
from telepathy.experiments.analysis.detectors.predictions import COLLAPSED, IGNORED
from telepathy.experiments.analysis.detectors.trainings import NOT_LEARNING
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.results import PooledResult
from telepathy.reporting.numbers import count, interval, p_equals, percent

AT_CHANCE, CONTROL = "accuracy at chance", "control above chance"
_MIN_EXAMPLES = 20
_CONTROL_LEVEL = 0.01  # stricter than LEVEL: a false alarm here casts doubt on all results


@detector(CONTROL)
def control_above_chance(evidence: Evidence) -> Iterator[Finding]:
    """A blind control beats a guess although the receiver sees nothing of the text."""
    tested = [
        result
        for result in evidence.results
        if result.is_blind_control and result.setting == "blind" and result.majority
    ]
    tested = [result for result in tested if result.values]
    if not tested:
        return
    from scipy.stats import binomtest

    from latentwire.eval.statistics import holm_p_values

    p_values = [
        binomtest(
            round(sum(r.values.values())), len(r.values), r.guess, alternative="greater"
        ).pvalue
        for r in tested
    ]
    for result, p_value in zip(tested, holm_p_values(p_values)):
        if p_value > _CONTROL_LEVEL:
            continue
        yield Finding(
            CONTROL,
            f"{result.name} on {result.task} reaches {_score_text(result)}; a guess reaches "
            f"{percent(result.guess)} ({p_equals(p_value)}, Holm-corrected).",
            result.keys,
            (
                "The answer may leak through the prompt, the order of the examples, or a message "
                "that was not replaced.",
            ),
            (result.task, result.method),
            {"score": result.score, "guess": result.guess, "p_adjusted": p_value},
        )


def _one_per_task(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Merge the findings of each task."""
    groups: dict[tuple[str, float], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.about[0], finding.data["guess"]), []).append(finding)
    for (task, guess), group in groups.items():
        if len(group) == 1:
            yield from group
            continue
        listed = ", ".join(f"{f.data['name']} {100 * f.data['score']['value']:.1f}" for f in group)
        yield Finding(
            AT_CHANCE,
            f"{len(group)} methods on {task} are not significantly better than "
            f"{group[0].data['which']} ({percent(guess)}): {listed}.",
            tuple(dict.fromkeys(key for f in group for key in f.keys)),
            about=(task,),
            data={"guess": guess, "methods": [f.data for f in group]},
        )


@detector(AT_CHANCE, unless=(COLLAPSED, IGNORED, NOT_LEARNING), summarize=_one_per_task)
def at_chance(evidence: Evidence) -> Iterator[Finding]:
    """The interval of a method's accuracy includes the accuracy of a guess."""
    for result in evidence.results:
        if result.is_blind or not result.guess or result.score["n"] < _MIN_EXAMPLES:
            continue
        if result.score["ci_low"] <= result.guess:
            most_common = result.majority > result.chance
            which = "always giving the most common answer" if most_common else "a uniform guess"
            yield Finding(
                AT_CHANCE,
                f"{result.name} on {result.task} reaches {_score_text(result)}, not significantly "
                f"better than {which} ({percent(result.guess)}).",
                result.keys,
                about=(result.task, result.method),
                data={
                    "name": result.name,
                    "score": result.score,
                    "chance": result.chance,
                    "majority": result.majority,
                    "guess": result.guess,
                    "which": which,
                },
            )


def _score_text(result: PooledResult) -> str:
    s = result.score
    return f"{percent(s['value'])} ({interval(s)}), n {s['n']}, {count(s['n_seeds'], 'seed')}"
