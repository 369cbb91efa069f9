"""What a person sees of results: one table, two sentences. Both come from results.json alone."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

_MIN_WIDTH = 120
METRIC_NAMES = {
    "acc": "accuracy",
    "acc_norm": "acc_norm",
    "exact_match": "exact match",
    "f1": "F1",
    "final_number": "right number",
    "rouge_l": "ROUGE-L",
}


def stdout_console() -> Console:
    """A console on stdout, wide enough for the tables also in a pipe or a file."""
    console = Console(file=sys.stdout, highlight=False)
    return (
        console
        if console.is_terminal
        else Console(file=sys.stdout, highlight=False, width=max(console.width, _MIN_WIDTH))
    )


def print_json(value: dict[str, Any]) -> None:
    """Exactly one JSON object on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def results_table(results: dict[str, Any]) -> Table:
    """Method, score with interval, ms per example, speed-up over the text relay, bytes."""
    pair, metric, asked = results["pair"], results["metric"], results["asked"]
    others = _other_metrics(results)
    unparsed = any(row["unparsed"] for row in results["methods"].values())
    chance = f", chance {100 * results['chance']:.1f} %" if results["chance"] else ""
    table = Table(
        title=(
            f"{results['task']}, {results['split']} split, {results['n']} examples{chance}\n"
            f"{pair['sender']} -> {pair['receiver']}, setting {asked['setting']}, the sender's "
            f"prompt {asked['sender_prompt']}"
        ),
        title_justify="left",
    )
    for column in ("method", "what it is"):
        table.add_column(column, no_wrap=True)
    columns = [f"{METRIC_NAMES[metric]} %", "95 % interval"]
    columns += [f"{METRIC_NAMES[other]} %" for other in others]
    columns += ["n", *(["unparsed"] if unparsed else []), "ms", "vs relay", "bytes"]
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    relay_ms = _ms(results["methods"].get("text_relay", {}))
    for name, row in results["methods"].items():
        score, ms = _score(row, results), _ms(row)
        table.add_row(
            name,
            row["about"],
            f"{100 * score['value']:.1f}",
            f"{100 * score['ci_low']:.1f} - {100 * score['ci_high']:.1f}",
            *(f"{100 * row['metrics'][other]['value']:.1f}" for other in others),
            f"{score['n']}",
            *([f"{row['unparsed']}"] if unparsed else []),
            "" if ms is None else f"{ms:.0f}",
            "" if ms is None or relay_ms is None else f"{relay_ms / ms:.1f}x",
            "" if row["bytes"] is None else f"{row['bytes']:,.0f}",
        )
    return table


def meaning(results: dict[str, Any]) -> list[str]:
    """Two sentences on what the bridge's numbers mean, computed, also when they are bad."""
    return [_channel_sentence(results), _rivals_sentence(results)]


def _channel_sentence(results: dict[str, Any]) -> str:
    methods, chance = results["methods"], results["chance"]
    bridge = methods["bridge"]
    score = _score(bridge, results)
    alone = "" if results["asked"]["setting"] == "shared" else " alone"
    text = f"From {bridge['bytes']:,.0f} bytes of soft tokens{alone} the receiver "
    if results["metric"] in ("acc", "acc_norm", "exact_match", "final_number"):
        text += f"gets {_percent(score)} of {score['n']} examples right"
    else:
        name = METRIC_NAMES[results["metric"]]
        text += f"writes answers worth {_percent(score)} {name} on {score['n']} examples"
    controls = [name for name in ("zero", "random", "shuffled") if name in methods]
    if controls:
        scores = {name: _score(methods[name], results) for name in controls}
        listed = ", ".join(f"{name} {_share(found)}" for name, found in scores.items())
        if chance:
            listed += f"; chance {100 * chance:.0f} %"
        if score["ci_low"] > max(found["ci_high"] for found in scores.values()):
            text += f"; with tampered messages it falls ({listed}), "
            text += "so the messages carry what the text was about"
        else:
            text += f"; tampered messages do as well ({listed}), "
            text += "so nothing is shown to be communicated"
    relay, own = _ms(methods.get("text_relay", {})), _ms(bridge)
    if relay and own:
        word = "faster" if relay >= own else "slower"
        ratio = relay / own if relay >= own else own / relay
        text += f"; it answers in {own:.0f} ms, {ratio:.1f} times {word} than the text relay"
    return text + "."


def _rivals_sentence(results: dict[str, Any]) -> str:
    """How the bridge stands against each baseline, by the paired test."""
    groups: dict[str, list[str]] = {"better": [], "level": [], "worse": []}
    for comparison in results["comparisons"]:
        name = comparison["b"]
        if comparison["a"] != "bridge" or name in ("zero", "random", "shuffled"):
            continue
        points = 100 * comparison["difference"]
        told = f"{name} ({points:+.1f} points, p {_p(comparison['p_value'])})"
        if comparison["p_value"] >= 0.05:
            groups["level"].append(told)
        else:
            groups["better" if points > 0 else "worse"].append(told)
    parts = []
    if groups["better"]:
        parts.append(f"beats {_listed(groups['better'])}")
    if groups["level"]:
        parts.append(f"cannot be told apart from {_listed(groups['level'])}")
    if groups["worse"]:
        parts.append(f"loses to {_listed(groups['worse'])}")
    if not parts:
        return "No baseline was run beside it, so it is not known whether cheaper means do as well."
    exact = all(c["test"] == "mcnemar" for c in results["comparisons"])
    test = "exact McNemar" if exact else "paired permutation test"
    return f"On the same examples the bridge {'; it '.join(parts)} ({test})."


def _score(row: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """The primary score of a method."""
    return dict(row["metrics"][results["metric"]])


def _other_metrics(results: dict[str, Any]) -> list[str]:
    """Metrics that say something the primary one does not."""
    rows = [row["metrics"] for row in results["methods"].values()]
    primary = results["metric"]
    others = [name for name in rows[0] if name != primary]
    return [o for o in others if any(row[o]["value"] != row[primary]["value"] for row in rows)]


def _ms(row: dict[str, Any]) -> float | None:
    timing = row.get("ms_per_example")
    return float(timing["p50"]) if timing else None


def _share(score: dict[str, Any]) -> str:
    return f"{100 * score['value']:.1f} %"


def _percent(score: dict[str, Any]) -> str:
    low, high = 100 * score["ci_low"], 100 * score["ci_high"]
    return f"{_share(score)} ({low:.1f} - {high:.1f})"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
