"""A consumer of facts that survives restarts, its own and the desk's: what a webhook would tell, pulled instead.

    python examples/consumer.py http://localhost:4000 ledger.csv

Each order that settles becomes one line of `ledger.csv`. How far it has come is kept in `ledger.csv.position`, written
after the line is. A crash between the two makes a line come again with the same position; at start the last line is
looked at, so that it does not. The event stream goes on from the position without gap or duplicate.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import parallax

KINDS = ("OrderCompleted", "OrderFailed")


class Ledger:
    """Lines in a file, and the position up to which they are complete in another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._marker = path.with_name(path.name + ".position")
        whole, _, torn = (path.read_text() if path.exists() else "").rpartition("\n")
        if torn:
            path.write_text(whole + "\n" if whole else "")  # a crash in the middle of a line
        lines = whole.splitlines()
        written = int(lines[-1].partition(",")[0]) if lines else 0
        marked = int(self._marker.read_text()) if self._marker.exists() else 0
        self.position = max(written, marked)

    def add(self, position: int, *fields: str) -> None:
        """One line, on disk before the position says so."""
        with self._path.open("a") as file:
            file.write(",".join((str(position), *fields)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._mark(position)

    def _mark(self, position: int) -> None:
        aside = self._marker.with_name(self._marker.name + ".new")
        aside.write_text(str(position))
        aside.replace(self._marker)
        self.position = position


def main(url: str, path: str) -> None:
    """Follow the desk until interrupted."""
    ledger = Ledger(Path(path))
    print(f"from position {ledger.position}", flush=True)
    with parallax.Client(url) as desk:
        for event in desk.watch(after=ledger.position, kinds=KINDS):
            order = desk.order(event.data["order_id"])
            ledger.add(event.position, order.id, event.kind, str(order.amount), str(order.result))
            print(f"{event.position} {event.kind} {order.id}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: consumer.py URL FILE")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main(sys.argv[1], sys.argv[2])
    except KeyboardInterrupt:
        pass
    except parallax.DeskError as error:
        raise SystemExit(f"consumer: {error}") from None
