"""The order in which the exchange lists things: none a client may rely on, and cheap for any number of them.

Both lists keep ready-made JSON rows, so that a list of a hundred thousand is a join and not an encoding.
"""

from __future__ import annotations

from datetime import datetime
from heapq import heappop, heappush
from random import Random

from parallax.sandbox.model import Order


class ShuffledRows:
    """Rows in an order that is shuffled as they come, and turned further at each reading."""

    __slots__ = ("_random", "_rows")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._rows: list[bytes] = []

    def add(self, row: bytes) -> None:
        """Put `row` at a random place (and what stood there at the end): a shuffle, one step at a time."""
        rows = self._rows
        rows.append(row)
        place = int(self._random.random() * len(rows))
        rows[place], rows[-1] = rows[-1], rows[place]

    def read(self) -> list[bytes]:
        """All rows, beginning at a random one."""
        start = int(self._random.random() * len(self._rows))
        return self._rows[start:] + self._rows[:start]


class UserOrders:
    """One user's orders as the list shows them: what changed last comes last.

    This is how a table without ORDER BY behaves: an updated row moves. An order thus changes its place when
    it settles, which is what clients of the real exchange saw.
    """

    __slots__ = ("_count", "_due", "_rows")

    def __init__(self) -> None:
        self._rows: dict[str, bytes] = {}
        self._due: list[tuple[datetime, int, Order]] = []
        self._count = 0

    def schedule(self, order: Order, at: datetime) -> None:
        """Look at `order` again at `at`: it changes or becomes visible then."""
        self._count += 1
        heappush(self._due, (at, self._count, order))

    def hide(self, order: Order) -> None:
        """Take `order` off the list until its `visible_at`."""
        self._rows.pop(order.id, None)
        self.schedule(order, order.visible_at)

    def read(self, now: datetime) -> list[bytes]:
        """The rows of all orders visible at `now`."""
        due, rows = self._due, self._rows
        while due and due[0][0] <= now:
            at, _, order = heappop(due)
            if order.visible_at > at:
                continue
            # As of `at`, not of `now`: rows then move in the order in which things happened.
            row = order.row(order.status(at))
            if rows.get(order.id) != row:
                rows.pop(order.id, None)
                rows[order.id] = row
        return list(rows.values())
