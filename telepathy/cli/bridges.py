"""`latentwire bridges`: the kinds of bridge, how large each is for a pair, where it comes from."""

from __future__ import annotations

from typing import Any

from telepathy.reporting.tables import print_json, stdout_console

_SOFT_TOKENS = 8


def list_bridges(pair: str | None, as_json: bool) -> None:
    """Print every kind; sizes are for one sender layer and eight soft tokens."""
    found = describe_bridges(pair)
    if as_json:
        print_json(found)
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=f"Bridges, {found['pair']['sender']} -> {found['pair']['receiver']}, "
        f"{found['soft_tokens']} soft tokens",
        title_justify="left",
    )
    table.add_column("kind", no_wrap=True)
    table.add_column("trained values", justify="right", no_wrap=True)
    table.add_column("what it is")
    table.add_column("source")
    for row in found["bridges"]:
        about, source = escape(row["about"]), escape(row["source"])
        table.add_row(row["kind"], f"{row['n_parameters']:,}", about, source)
    console = stdout_console()
    console.print(table)
    console.print("Options of each kind, for `train --set name=value`: latentwire bridges --json")


def describe_bridges(pair: str | None) -> dict[str, Any]:
    """What the list shows, JSON-able; no model is loaded and no weights are made.

    Args:
        pair: Preset of models, `embedded` by default.
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
