"""What a person sees of results: one table, two sentences. Both come from results.json alone."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

_MIN_WIDTH = 120


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
    """Method, accuracy with interval, ms per example, speed-up over the text relay, bytes."""
    pair = results["pair"]
    table = Table(
        title=(
            f"{results['task']}, {results['split']} split, {results['n']} examples, chance "
            f"{100 * results['chance']:.1f} %\n{pair['sender']} -> {pair['receiver']}"
        ),
        title_justify="left",
    )
    for column in ("method", "what it is"):
        table.add_column(column, no_wrap=True)
    for column in ("accuracy %", "95 % interval", "n", "ms", "vs relay", "bytes"):
        table.add_column(column, justify="right", no_wrap=True)
    relay_ms = _ms(results["methods"].get("text_relay", {}))
    for name, row in results["methods"].items():
        score, ms = row["accuracy"], _ms(row)
        table.add_row(
            name,
            row["about"],
            f"{100 * score['value']:.1f}",
            f"{100 * score['ci_low']:.1f} - {100 * score['ci_high']:.1f}",
            f"{score['n']}",
            "" if ms is None else f"{ms:.0f}",
            "" if ms is None or relay_ms is None else f"{relay_ms / ms:.1f}x",
            "" if row["bytes"] is None else f"{row['bytes']:,.0f}",
        )
    return table


def meaning(results: dict[str, Any]) -> list[str]:
    """Two sentences on what the bridge's numbers mean, computed, also when they are bad."""
    methods = results["methods"]
    return [_channel_sentence(methods, results["chance"]), _rivals_sentence(results)]


def _channel_sentence(methods: dict[str, Any], chance: float) -> str:
    bridge = methods["bridge"]
    score = bridge["accuracy"]
    text = (
        f"From {bridge['bytes']:,.0f} bytes of soft tokens alone the receiver gets "
        f"{_percent(score)} of {score['n']} examples right"
    )
    controls = [name for name in ("zero", "random", "shuffled") if name in methods]
    if controls:
        listed = ", ".join(f"{name} {_share(methods[name]['accuracy'])}" for name in controls)
        best = max(methods[name]["accuracy"]["ci_high"] for name in controls)
        if score["ci_low"] > best:
            text += f"; with tampered messages it falls to {listed} (chance {100 * chance:.0f} %), "
            text += "so the messages carry what the text was about"
        else:
            text += f"; tampered messages do as well ({listed}, chance {100 * chance:.0f} %), "
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
    return f"On the same examples the bridge {'; it '.join(parts)} (exact McNemar)."


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
