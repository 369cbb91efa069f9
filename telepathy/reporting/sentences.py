"""Interpret results: sentences computed from `results.json`."""

from __future__ import annotations

from typing import Any

from latentwire.eval.statistics import LEVEL
from telepathy.reporting.numbers import (
    difference_and_interval,
    metric_name,
    p_value,
    percent,
    score_and_interval,
)

_COUNTED_METRICS = ("acc", "acc_norm", "exact_match", "final_number")
_ALTERED = ("zero", "random", "shuffled")


def check_sentence(check: dict[str, Any]) -> str:
    """Sentence on whether a baseline beats the simpler one that it should beat.

    Args:
        check: One of the `checks` of `results.json`.
    """
    found = f"{difference_and_interval(check)} points, p (Holm) {p_value(check['p_adjusted'])}"
    if check["p_adjusted"] > LEVEL:
        return f"The difference between {check['a']} and {check['b']} is not significant: {found}."
    if is_weak(check):
        return f"Weak baseline: {check['a']} is worse than {check['b']}: {found}."
    return f"{check['a']} is better than {check['b']}, as it should be: {found}."


def is_weak(check: dict[str, Any]) -> bool:
    """Whether a baseline is significantly worse than the simpler one that it should beat."""
    return bool(check["p_adjusted"] <= LEVEL and check["difference"] < 0)


_NO_VERDICT = (
    "No verdict: none of the baselines that it needs was evaluated, so a simpler method may do as "
    "well."
)


def bridge_sentences(results: dict[str, Any]) -> list[str]:
    """Sentences on the bridge's score, the effect of its messages, and the verdict on each claim.

    Args:
        results: Content of `results.json`, with a row for `bridge`.
    """
    verdicts = [verdict["sentence"] for verdict in results["verdicts"]]
    return [
        _score_sentence(results),
        *_control_sentence(results),
        *_speed_sentence(results),
        *(verdicts or [_NO_VERDICT]),
    ]


def _score_sentence(results: dict[str, Any]) -> str:
    bridge, metric = results["methods"]["bridge"], results["metric"]
    score = bridge["metrics"][metric]
    alone = "" if results["asked"]["setting"] == "shared" else " alone"
    value, _, in_brackets = score_and_interval(score).partition(" ")
    message = f"{bridge['bytes']:,.0f} bytes of soft tokens{alone}"
    if metric in _COUNTED_METRICS:
        return (
            f"From {message}, the receiver answers {value} % {in_brackets} of {score['n']:,} "
            "examples correctly."
        )
    return (
        f"From {message}, the receiver reaches {value} % {in_brackets} {metric_name(metric)} on "
        f"{score['n']:,} examples."
    )


def _control_sentence(results: dict[str, Any]) -> list[str]:
    methods, metric, chance = results["methods"], results["metric"], results["chance"]
    scores = {name: methods[name]["metrics"][metric] for name in _ALTERED if name in methods}
    if not scores:
        return []
    listed = ", ".join(f"{name} {percent(score['value'])}" for name, score in scores.items())
    if chance:
        listed += f"; chance {percent(chance)}"
    best = max(score["ci_high"] for score in scores.values())
    if methods["bridge"]["metrics"][metric]["ci_low"] > best:
        return [
            f"With altered messages the score drops ({listed}): the messages carry information "
            "about the text."
        ]
    return [
        f"With altered messages the score is not clearly lower ({listed}): there is no evidence "
        "that the messages carry information."
    ]


def _speed_sentence(results: dict[str, Any]) -> list[str]:
    own, relay = (median_ms(results["methods"].get(name, {})) for name in ("bridge", "text_relay"))
    if not own or not relay:
        return []
    comparison = (
        f"{relay / own:.1f} times faster" if relay >= own else f"{own / relay:.1f} times slower"
    )
    return [f"One answer takes {own:.0f} ms, {comparison} than the text relay."]


def median_ms(row: dict[str, Any]) -> float | None:
    """Median time of one answer of a method, in ms; None if it was not timed."""
    timing = row.get("ms_per_example")
    return float(timing["p50"]) if timing else None
