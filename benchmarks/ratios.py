"""The table of a benchmark that sets ours beside others."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table

from kunto.console import out


def print_ratios(title: str, rows: Sequence[Mapping[str, Any]], difference: Callable[[Mapping[str, Any]], str]) -> None:
    """Print rows of {row, ours, peer, ratio, peak_mib, peer_peak_mib}; `difference` tells how far apart the results are."""
    table = Table(title=f"{title}; ratio > 1: ours is better")
    for heading in ("what", "ratio", "ours", "peer", "MiB", "peer's MiB", "largest difference"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for row in rows:
        figures = [f"{row[name]:,.2f}" for name in ("ratio", "ours", "peer")]
        memory = [f"{row[name]:,.0f}" for name in ("peak_mib", "peer_peak_mib")]
        table.add_row(row["row"], *figures, *memory, difference(row))
    out.print(table)
