"""What a person sees of results: one table, two sentences. Both come from results.json alone."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

_MIN_WIDTH = 150
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
    """Method, score with interval, how much the first method is ahead, time and bytes.

    Columns that no row has something for are left out.
    """
    pair, metric, asked = results["pair"], results["metric"], results["asked"]
    others, rows = _other_metrics(results), results["methods"]
    against = {c["b"]: c for c in results["comparisons"]}
    chance = f", chance {100 * results['chance']:.1f} %" if results["chance"] else ""
    table = Table(
        title=(
            f"{results['task']}, {results['split']} split, {results['n']} examples{chance}\n"
            f"{pair['sender']} -> {pair['receiver']}, setting {asked['setting']}, the sender's "
            f"prompt {asked['sender_prompt']}"
        ),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    scores = {name: _score(row, results) for name, row in rows.items()}
    relay_ms = _ms(rows.get("text_relay", {}))
    columns: dict[str, list[str]] = {
        "method": list(rows),
        "what it is": [row["about"] for row in rows.values()],
        f"{METRIC_NAMES[metric]} %": [f"{100 * s['value']:.1f}" for s in scores.values()],
        "95 % interval": [
            f"{100 * s['ci_low']:.1f} - {100 * s['ci_high']:.1f}" for s in scores.values()
        ],
    }
    for other in others:
        columns[f"{METRIC_NAMES[other]} %"] = [
            f"{100 * row['metrics'][other]['value']:.1f}" for row in rows.values()
        ]
    columns["n"] = [f"{s['n']}" for s in scores.values()]
    if any(s["n_seeds"] > 1 for s in scores.values()):
        columns["seeds"] = [f"{s['n_seeds']}" for s in scores.values()]
    if any(row["unparsed"] for row in rows.values()):
        columns["unparsed"] = [f"{row['unparsed']}" for row in rows.values()]
    columns[f"{next(iter(rows))} ahead"] = [
        points(against[name]) if name in against else "" for name in rows
    ]
    columns["p"] = [
        p_value(against[name]["p_adjusted"]) if name in against else "" for name in rows
    ]
    columns["ms"] = ["" if (ms := _ms(row)) is None else f"{ms:.0f}" for row in rows.values()]
    columns["vs relay"] = [
        "" if (ms := _ms(row)) is None or relay_ms is None else f"{relay_ms / ms:.1f}x"
        for row in rows.values()
    ]
    columns["bytes"] = [
        "" if row["bytes"] is None else f"{row['bytes']:,.0f}" for row in rows.values()
    ]
    kept = {title: cells for title, cells in columns.items() if any(cells)}
    for title in kept:
        # On a narrow terminal figures stay whole; words give way.
        words = title == "what it is"
        left = words or title == "method"
        table.add_column(title, justify="left" if left else "right", no_wrap=not words)
    for cells in zip(*kept.values()):
        table.add_row(*cells)
    return table


def points(comparison: dict[str, Any]) -> str:
    """A difference with its interval, in points."""
    low, high = 100 * comparison["ci_low"], 100 * comparison["ci_high"]
    return f"{100 * comparison['difference']:+.1f} ({low:+.1f} to {high:+.1f})"


def meaning(results: dict[str, Any]) -> list[str]:
    """What the bridge's numbers mean, computed, also when they are bad."""
    sentences = [verdict["sentence"] for verdict in results["verdicts"]]
    rivals = sentences or [
        "No baseline was run beside it, so it is not known whether cheaper means do as well."
    ]
    return [_channel_sentence(results), *rivals]


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


def p_value(value: float) -> str:
    """A p-value as tables show it."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
