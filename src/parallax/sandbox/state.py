"""A sandbox exchange that keeps its record in a file and has it again after a restart, as a real exchange would.

    exchange = KeptExchange(Path("sandbox.exchange"), seed=7)

The file is append-only, one JSON document a line: starts, quotes, order requests, their outcomes, and orders with
the fate that was drawn for them (the last line about an order counts). Each change is handed to the system before
its answer leaves, so it outlives a killed process; there is no fsync, so the machine's own crash may cost the end.
Settings and faults are not kept: they belong to a start.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from parallax.sandbox.call import ConnectionDropped
from parallax.sandbox.exchange import Exchange, utc_now
from parallax.sandbox.model import Order, OrderRequest, Outcome, Quote, Status
from parallax.sandbox.rates import RateSource, ecb_rates
from parallax.sandbox.refusals import Refusal
from parallax.sandbox.settings import SandboxSettings

_MODE: Final = 0o600


class StateUnusable(Exception):
    """The file cannot be the exchange's record; the words fit on one line and name it."""


class StateFile:
    """An append-only file of lines that one process has at a time.

    Raises `StateUnusable` when another process has it, or it cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
        except OSError as error:
            raise StateUnusable(f"The sandbox's record {path} cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise StateUnusable(f"Another process has the sandbox's record {path} in use") from None
        self._failed = ""

    def documents(self) -> Iterator[dict[str, Any]]:
        """All that was written, oldest first. A line that a crash cut off at the end is taken away.

        Raises `StateUnusable`, naming the line, for one that cannot be read.
        """
        try:
            whole = 0
            with os.fdopen(os.dup(self._file), "rb") as reader:
                for number, line in enumerate(reader, start=1):
                    if not line.endswith(b"\n"):
                        break
                    yield self._document(number, line)
                    whole += len(line)
            os.ftruncate(self._file, whole)
        except OSError as error:
            raise StateUnusable(f"The sandbox's record {self.path} cannot be read: {error}") from None

    def append(self, *documents: dict[str, object]) -> None:
        """Write `documents` in one go.

        Raises `ConnectionDropped` when they cannot be written: nobody gets an answer then, and nothing more is
        written until the next start, as memory is ahead of the file.
        """
        if self._failed:
            raise ConnectionDropped(self._failed)
        lines = b"".join(
            json.dumps(document, separators=(",", ":")).encode() + b"\n" for document in documents
        )
        try:
            written, reason = os.write(self._file, lines), "the disk is full"
        except OSError as error:
            written, reason = 0, error.strerror or str(error)
        if written != len(lines):
            self._failed = f"the record {self.path} cannot be written ({reason}); start the sandbox again"
            raise ConnectionDropped(self._failed)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def damaged(self, number: int, what: object) -> StateUnusable:
        """What to raise when a line cannot be what was written."""
        return StateUnusable(
            f"The sandbox's record {self.path} is damaged in line {number} ({what}); "
            "move it away to begin with an empty exchange"
        )

    def _document(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            document = json.loads(line)
        except ValueError:
            raise self.damaged(number, "not JSON") from None
        if not isinstance(document, dict):
            raise self.damaged(number, "not an object")
        return document  # pyright: ignore[reportUnknownVariableType]  # keys are text: it is JSON


class KeptExchange(Exchange):
    """An exchange whose quotes, requests and orders outlive the process. Raises `StateUnusable`.

    `settings.quotes` are made for a new file only. Identifiers differ from start to start: each start draws from
    streams of its own.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], datetime] = utc_now,
        seed: int = 0,
        settings: SandboxSettings | None = None,
        rates: RateSource = ecb_rates,
    ) -> None:
        wanted = settings or SandboxSettings()
        self._state = StateFile(path)
        try:
            kept = list(self._state.documents())
            start = 1 + sum("start" in document for document in kept)
            super().__init__(clock, seed, replace(wanted, quotes=0), rates, start=start)
            for number, document in enumerate(kept, start=1):
                self._replay(number, document)
            for order in self.orders.values():
                self._enlist(order)
            self._state.append({"start": {"number": start, "at": _written(clock())}})
            self.settings = wanted
            if start == 1:
                self.seed_quotes(wanted.quotes, wanted.quote_valid_seconds)
        except ConnectionDropped as error:
            self.close()
            raise StateUnusable(f"The sandbox cannot keep its record: {error}") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file: nothing can change any more."""
        self._state.close()

    # The verbs, each kept before its caller goes on

    def create_quote(self, *, skew_seconds: float = 0.0, age_seconds: float = 0.0) -> Quote:
        quote = super().create_quote(skew_seconds=skew_seconds, age_seconds=age_seconds)
        self._state.append({"quote": {**quote.as_json(), "row": quote.row.decode()}})
        return quote

    def place_order(self, request: OrderRequest, *, skew_seconds: float = 0.0) -> Order:
        order = super().place_order(request, skew_seconds=skew_seconds)
        # In one go: an order without the request that made it would look like one that nobody placed.
        self._state.append(self._line(order), _outcome_line(request))
        return order

    def note_refusal(self, request: OrderRequest, refusal: Refusal) -> None:
        super().note_refusal(request, refusal)
        self._state.append(_outcome_line(request))

    def place_elsewhere(
        self, user_id: object, from_amount: object, quote_id: object = None, *, force: bool = False
    ) -> Order:
        order = super().place_elsewhere(user_id, from_amount, quote_id, force=force)
        self._state.append(self._line(order))
        return order

    def settle_all(self) -> int:
        now = self.now()
        pending = [order for order in self.orders.values() if order.settles_at > now]
        settled = super().settle_all()
        if pending:
            self._state.append(*map(self._line, pending))
        return settled

    def change_mind(self, order: Order, after_seconds: float = 0.0, status: Status | None = None) -> None:
        super().change_mind(order, after_seconds, status)
        self._state.append(self._line(order))

    def list_later(self, order: Order, seconds: float) -> None:
        super().list_later(order, seconds)
        self._state.append(self._line(order))

    def _noted(self, request: OrderRequest) -> OrderRequest:
        super()._noted(request)
        fields = request.as_json()
        del fields["outcomes"]
        self._state.append({"request": fields})
        return request

    def _line(self, order: Order) -> dict[str, object]:
        fields = order.as_json(self.now())
        del fields["status"]  # follows from its life
        return {"order": fields}

    # Restoring

    def _replay(self, number: int, document: dict[str, Any]) -> None:
        restorers: dict[str, Callable[[dict[str, Any]], object]] = {
            "start": lambda _: None,
            "quote": self._restore_quote,
            "request": self._restore_request,
            "outcome": self._restore_outcome,
            "order": self._restore_order,
        }
        try:
            for kind, fields in document.items():
                restorers[kind](fields)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._state.damaged(number, f"{type(error).__name__}: {error}") from None

    def _restore_quote(self, fields: dict[str, Any]) -> None:
        quote = Quote(
            id=fields["id"],
            created_at=_read(fields["created_at"]),
            recorded_at=_read(fields["recorded_at"]),
            from_currency=fields["from_currency"],
            to_currency=fields["to_currency"],
            rate=fields["rate"],
            row=fields["row"].encode(),
        )
        self.quotes[quote.id] = quote
        self._quote_rows.add(quote.row)

    def _restore_request(self, fields: dict[str, Any]) -> None:
        # Through the base: what was noted before the restart is not written a second time.
        super()._noted(
            OrderRequest(
                received_at=_read(fields["received_at"]),
                quote_id=fields["quote_id"],
                user_id=fields["user_id"],
                from_amount=fields["from_amount"],
            )
        )

    def _restore_outcome(self, fields: dict[str, Any]) -> None:
        outcome = Outcome(_read(fields["at"]), fields["order_id"], fields["refused"], fields["status"])
        place: int = fields["request"]
        self.requests[place].outcomes.append(outcome)

    def _restore_order(self, fields: dict[str, Any]) -> None:
        order = Order(
            id=fields["id"],
            quote_id=fields["quote_id"],
            user_id=fields["user_id"],
            from_amount=fields["from_amount"],
            accepted_at=_read(fields["accepted_at"]),
            visible_at=_read(fields["visible_at"]),
            life=[(_read(step["at"]), step["status"]) for step in fields["life"]],
            elsewhere=fields["elsewhere"],
        )
        quote = self.quotes[order.quote_id]
        if order.user_id not in self.users:
            raise ValueError(f"user {order.user_id} is not of this exchange")
        self.orders[order.id] = order
        quote.order_id = quote.order_id or order.id

    def _enlist(self, order: Order) -> None:
        listed = self._user_orders[order.user_id]
        # Every instant at which its row changed or will: the list then moves as it would have without a restart.
        for at in (order.visible_at, *(at for at, _ in order.life)):
            listed.schedule(order, at)


def _outcome_line(request: OrderRequest) -> dict[str, object]:
    return {"outcome": {"request": request.number, **request.outcomes[-1].as_json()}}


def _written(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _read(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text} has no zone")
    return at
