"""How a measurement is told: one row a figure, beside its bar and the figure of the program this one replaces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import quantiles

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `bar` is what must hold, in words; `holds` whether it did (None: nothing is demanded)."""

    what: str
    measured: str
    bar: str = ""
    original: str = ""
    holds: bool | None = None


def at_most(what: str, value: float, bar: float, unit: str = "", original: str = "", digits: int = 2) -> Row:
    """A figure that must not be larger than its bar."""
    return Row(
        what, f"{value:,.{digits}f}{unit}", f"≤ {bar:,g}{unit}", original, holds=round(value, digits) <= bar
    )


def at_least(what: str, value: float, bar: float, unit: str = "", original: str = "", digits: int = 0) -> Row:
    """A figure that must not be smaller than its bar."""
    return Row(
        what, f"{value:,.{digits}f}{unit}", f"≥ {bar:,g}{unit}", original, holds=round(value, digits) >= bar
    )


def ranged(row: Row, values: list[float]) -> Row:
    """A row that also names the least and the largest of what it is the median of."""
    digits = 0 if min(values) >= 100 else 1
    return replace(row, what=f"{row.what} ({min(values):,.{digits}f}–{max(values):,.{digits}f})")


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    if len(ordered) < 2:
        return ordered[0]
    return quantiles(ordered, n=1000, method="inclusive")[min(998, max(0, round(share * 1000) - 1))]


def show(title: str, rows: list[Row]) -> bool:
    """Print a table; returns whether every bar holds."""
    table = Table(title=title, title_justify="left")
    for column in ("what", "measured", "bar", "original", ""):
        table.add_column(column, justify="left" if column in ("what", "") else "right")
    for row in rows:
        mark = {True: "[green]holds[/]", False: "[red]missed[/]", None: ""}[row.holds]
        table.add_row(row.what, row.measured, row.bar, row.original, mark)
    Console(width=140).print(table)
    return all(row.holds is not False for row in rows)
