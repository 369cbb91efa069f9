"""`latentwire bridges`: the bridges, their size for a pair of models, and their sources."""

from __future__ import annotations

from typing import Any

from telepathy.cli.options import JsonOption, PairOption
from telepathy.reporting.table import Column, Table, print_wrapped
from telepathy.reporting.text import print_json

_SOFT_TOKENS = 8


def bridges(pair: PairOption = None, as_json: JsonOption = False) -> None:
    """List the bridges with their sizes for a pair of models and their sources."""
    found = describe_bridges(pair)
    if as_json:
        print_json(found)
        return
    models = found["pair"]
    columns = [
        Column("bridge", left=True),
        Column("parameters"),
        Column("what it is", left=True, wraps=True),
        Column("source", left=True, wraps=True, hide=1),
    ]
    title = f"Bridges for {models['sender']} -> {models['receiver']}, {_SOFT_TOKENS} soft tokens"
    table = Table(columns, title)
    for row in found["bridges"]:
        table.add(row["kind"], f"{row['n_parameters']:,}", row["about"], row["source"])
    table.print()
    print_wrapped("`latentwire bridges --json` lists the options for `train --set name=value`.")


def describe_bridges(pair: str | None) -> dict[str, Any]:
    """Describe every bridge for one sender layer; loads no model and allocates no weights.

    Args:
        pair: Preset of models, `embedded` by default.
    Returns: A JSON object.
    Raises: UnknownNameError: If there is no such preset.
    """
    import torch

    from latentwire.bridge import BRIDGES, build_bridge
    from latentwire.models.zoo import PREFIX_WIDTHS, WIDTHS, resolve_pair

    sender, receiver = resolve_pair(pair)
    rows = []
    for name in BRIDGES.names():
        widths = PREFIX_WIDTHS if BRIDGES.get(name).writes == "prefix" else WIDTHS
        with torch.device("meta"):
            bridge = build_bridge(
                name,
                n_layers=1,
                sender_width=WIDTHS[sender],
                receiver_width=widths[receiver],
                soft_tokens=_SOFT_TOKENS,
            )
        rows.append(
            {
                "kind": name,
                "n_parameters": bridge.n_parameters,
                "about": bridge.about,
                "source": bridge.source,
                "options": bridge.options(),
                "wants": sorted(bridge.wants),
                "writes": bridge.writes,
            }
        )
    return {
        "pair": {"sender": sender, "receiver": receiver},
        "soft_tokens": _SOFT_TOKENS,
        "bridges": rows,
    }
