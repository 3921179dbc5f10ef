"""The chart of rates, as geometry: points in a fixed box, the scale's ends, and the words that say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from parallax.domain.entities import Quote

WIDTH: Final = 320
HEIGHT: Final = 120
INSET: Final = 8
"""The drawing's size and the space kept free above and below the line, in its own units."""


@dataclass(frozen=True, slots=True)
class Point:
    """A quote in the drawing: `x` and `y` in its units."""

    x: str
    y: str
    quote: Quote


@dataclass(frozen=True, slots=True)
class Chart:
    """Rates of one pair, oldest first: the line and the area under it as SVG paths, the last point, and the range."""

    pair: str
    points: Sequence[Point]
    line: str
    area: str
    last: Point
    lowest: Decimal
    highest: Decimal
    began_at: datetime
    ended_at: datetime
    direction: str

    @property
    def words(self) -> str:
        """The chart in a sentence."""
        return (
            f"{len(self.points)} rates of {self.pair}, from {self.lowest:f} to {self.highest:f};"
            f" the last one is {self.last.quote.rate.wire}."
        )


def chart_of(newest_first: Sequence[Quote]) -> Chart | None:
    """The chart of the quotes that have the newest one's pair; None while there are fewer than two."""
    if not newest_first:
        return None
    pair = newest_first[0].rate.pair
    quotes = [quote for quote in reversed(newest_first) if quote.rate.pair == pair]
    if len(quotes) < 2:
        return None
    rates = [quote.rate.value for quote in quotes]
    lowest, highest = min(rates), max(rates)
    spread = highest - lowest or Decimal(1)
    room = HEIGHT - 2 * INSET
    points = [
        Point(
            _tenth(Decimal(WIDTH) * index / (len(quotes) - 1)),
            _tenth(HEIGHT - INSET - room * (quote.rate.value - lowest) / spread),
            quote,
        )
        for index, quote in enumerate(quotes)
    ]
    line = "M" + " ".join(f"{point.x},{point.y}" for point in points)
    direction = "up" if rates[-1] > rates[0] else "down" if rates[-1] < rates[0] else "same"
    return Chart(
        pair=pair,
        points=points,
        line=line,
        area=f"{line} {WIDTH},{HEIGHT} 0,{HEIGHT}Z",
        last=points[-1],
        lowest=lowest,
        highest=highest,
        began_at=quotes[0].created_at,
        ended_at=quotes[-1].created_at,
        direction=direction,
    )


def _tenth(value: Decimal) -> str:
    return f"{value.quantize(Decimal('0.1'), ROUND_HALF_UP):f}"
