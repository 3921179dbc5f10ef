"""The tables of quotes and orders, which follow the facts.

A commit makes facts durable, and no more: whether they may follow is judged before, by the rows and by what facts have
made of them since. The rows are written a little later, each once for all the facts in between. What a desk that was
killed had not come to is caught up with at the next start, from the facts.
"""

# ruff: noqa: S608 - statements are put together from the names of our own tables and columns alone

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec import Struct

from parallax.domain.entities import Order, Quote
from parallax.domain.errors import DeskError, IllegalTransition, QuoteTaken
from parallax.domain.facts import Fact, OrderAccepted, OrderFact, OrderFound, QuoteIssued, QuotesListed
from parallax.domain.identity import OrderId, QuoteId
from parallax.domain.plurals import count
from parallax.domain.state import Change, State, fold
from parallax.domain.transitions import ORDER_STEPS, QUOTE_STEPS, OrderState, QuoteState
from parallax.journal import rows
from parallax.journal.judging import Ahead, DoesNotFollow, Holder
from parallax.journal.rows import Damaged
from parallax.journal.writing import flat, insert, marks, move, moving, parts
from parallax.ports.codec import decode
from parallax.ports.journal import Recorded

PIECE: Final = 500
"""Rows written in one transaction, about: a few milliseconds of work, as a claim may come meanwhile."""


class _Note(Struct):
    """A durable fact that the rows do not show yet: a step of an order, or quotes that begin."""

    position: int
    step: Change | None
    begun: Sequence[Quote]


class Tables:
    """What the rows of quotes and orders show, and what facts have made of them since."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.position = 0
        """Up to which fact the rows show everything; known after `catch_up`."""
        self._begin()

    def _begin(self) -> None:
        """The rows show everything."""
        self._notes: list[_Note] = []
        self._seen = _Seen()
        self._ahead = Ahead(self._seen)

    # Before facts are written

    def judge(self, batches: Sequence[Sequence[Change]]) -> list[QuoteTaken | None]:
        """For each batch whose the quote is that it claims, or None when it may be written after those before it.

        Raises `DoesNotFollow`, or `Damaged` when a row is in no state at all. What is allowed counts as recorded from
        here on.
        """
        changes = [change for batch in batches for change in batch]
        try:
            self._look_up_orders(changes)
            self._look_up_begun(changes)
        except ValueError as error:
            raise Damaged(f"a row is not what was written: {error}") from None
        return [self._ahead.take(batch) for batch in batches]

    def _look_up_orders(self, changes: Iterable[Change]) -> None:
        """See the rows of orders and of the quotes that they are about, unless they were seen or have moved since."""
        ahead, seen = self._ahead, self._seen
        unseen: dict[OrderId, QuoteId] = {}
        for change in changes:
            order = change.order
            if order is not None and order.id not in ahead.orders and order.id not in seen.orders:
                unseen[order.id] = order.quote_id
        for part in parts(list(unseen.items())):
            for row in self._db.execute(_looking_up_orders(len(part)), flat(part)):
                order_id, quote_id, order_state, quote_state, holder, by = row
                if order_state is not None:
                    seen.orders[order_id] = OrderState(order_state)
                if quote_state is not None:
                    seen.quotes[quote_id] = QuoteState(quote_state)
                if holder is not None:
                    seen.holders[quote_id] = Holder(holder, by)

    def _look_up_begun(self, changes: Iterable[Change]) -> None:
        """See whether quotes that begin have a row, which none may have."""
        begun = [(quote.id,) for change in changes if change.order is None for quote in _begun(change)]
        for part in parts(begun):
            for quote_id, state in self._db.execute(_looking_up_quotes(len(part)), flat(part)):
                self._seen.quotes[quote_id] = QuoteState(state)

    # After facts were written

    def note(self, recorded: Iterable[Recorded]) -> None:
        """Keep what durable facts have made of quotes and orders until `follow`; anything else is written with them."""
        for one in recorded:
            if one.change.order is not None:
                self._notes.append(_Note(one.position, one.change, ()))
            elif begun := _begun(one.change):
                self._notes.append(_Note(one.position, None, begun))

    @property
    def behind(self) -> int:
        """How many facts about quotes and orders the rows do not show yet."""
        return len(self._notes)

    def follow(self, position: int, *, most: int = PIECE) -> Followed:
        """Write the rows as the oldest of the facts up to `position` have left them, until there are `most`: a part of
        a transaction, after which comes `followed`. Raises `Damaged` when a row is not where it was left."""
        notes: list[_Note] = []
        count = 0
        for note in self._notes:
            if count >= most:
                position = notes[-1].position
                break
            notes.append(note)
            count += len(note.begun) or 1
        try:
            _write(self._db, notes)
        except (DoesNotFollow, sqlite3.IntegrityError) as error:
            raise Damaged(f"its tables cannot follow its facts: {error}") from None
        self._db.execute("UPDATE followed SET position = ?, mirror = ?", (position, ~position))
        return Followed(position, len(notes))

    def followed(self, done: Followed) -> None:
        """What `follow` wrote is durable."""
        self.position = done.position
        if done.notes == len(self._notes):
            self._begin()
        else:
            del self._notes[: done.notes]

    def catch_up(self, position: int) -> None:
        """Find out where the rows are, and note what the facts up to `position` have made of them since.

        Raises `Damaged` when the facts do not follow.
        """
        row = self._db.execute("SELECT position, mirror FROM followed").fetchone()
        if row is None or row[0] != ~row[1]:
            raise Damaged("how far its tables follow its facts is not what was written")
        if row[0] > position:
            raise Damaged(
                f"its tables show {count(row[0], 'fact')}, but it holds {position}: the last ones were lost"
            )
        self.position = row[0]
        state = _Recovered(self._db)
        for number, record in self._db.execute(
            "SELECT position, record FROM facts WHERE position > ? ORDER BY position", row[:1]
        ).fetchall():
            try:
                fact = decode(record)
                if not isinstance(fact, OrderFact | QuoteIssued | QuotesListed):
                    continue
                change = fold(state, fact)
            except (ValueError, IllegalTransition, DeskError) as error:
                raise Damaged(f"fact {number} cannot follow what is in the tables ({error})") from None
            state.put(change)
            self.note([Recorded(number, b"", change)])


def _begun(change: Change) -> Sequence[Quote]:
    """The quotes that begin with a change that is about no order."""
    return change.listed if change.quote is None else (change.quote,)


class Followed(NamedTuple):
    """Up to which fact the rows show everything, and how many notes that took."""

    position: int
    notes: int


class _Seen:
    """States of rows that were looked up."""

    def __init__(self) -> None:
        self.orders: dict[OrderId, OrderState] = {}
        self.quotes: dict[QuoteId, QuoteState] = {}
        self.holders: dict[QuoteId, Holder] = {}

    def order(self, order_id: OrderId) -> OrderState | None:
        return self.orders.get(order_id)

    def quote(self, quote_id: QuoteId) -> QuoteState | None:
        return self.quotes.get(quote_id)

    def holder(self, quote_id: QuoteId) -> Holder | None:
        return self.holders.get(quote_id)


class _Recovered(State):
    """The entities that facts are about, from their rows where no fact has moved them since."""

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__()
        self._db = db

    def order(self, order_id: OrderId) -> Order | None:
        known = super().order(order_id)
        return known or self._row("orders", rows.ORDER_COLUMNS, order_id, rows.order_of)

    def quote(self, quote_id: QuoteId) -> Quote | None:
        known = super().quote(quote_id)
        return known or self._row("quotes", rows.QUOTE_COLUMNS, quote_id, rows.quote_of)

    def _row(self, table: str, columns: Sequence[str], id_: str, of: Callable[[rows.Row], Any]) -> Any:
        row = self._db.execute(
            f"SELECT {', '.join(columns)}, seal FROM {table} WHERE id = ?", (id_,)
        ).fetchone()
        return None if row is None else of(row)


# Rows


@cache
def _looking_up_orders(height: int) -> str:
    """The states of orders and of the quotes that they are about, and which orders hold these."""
    return (
        "SELECT v.column1, v.column2, o.state, q.state, h.id, h.placed_by"
        f" FROM (VALUES {marks(2, height)}) AS v"
        " LEFT JOIN orders AS o ON o.id = v.column1"
        " LEFT JOIN quotes AS q ON q.id = v.column2"
        " LEFT JOIN orders AS h ON h.quote_id = v.column2 AND h.holds = 1"
    )


@cache
def _looking_up_quotes(height: int) -> str:
    return f"SELECT id, state FROM quotes WHERE id IN (VALUES {marks(1, height)})"


def _befores(steps: Iterable[tuple[Any, type[Any]]]) -> dict[type[Any], str | None]:
    """For each fact the states that it may follow, as `,a,b,`; None for one that begins an entity."""
    found: dict[type[Any], str | None] = {}
    for before, fact in steps:
        found[fact] = None if before is None else f"{found.get(fact) or ','}{before.value},"
    return found


_ORDER_COLUMNS: Final = (*rows.ORDER_COLUMNS, "seal", "facts")
_ORDER_BEFORES: Final = _befores(ORDER_STEPS)
_QUOTE_BEFORES: Final = _befores(QUOTE_STEPS)


class _Moved(Struct):
    """What facts have made of one entity: the states that its row may be in, and what it is now."""

    befores: str | None
    entity: Any
    fact: Fact
    facts: int = 0
    found: bool = False
    """Whether one of the facts gave the order its id at the venue."""


def _write(db: sqlite3.Connection, notes: Sequence[_Note]) -> None:
    """Every order and quote that notes are about, once, in the order in which they come first."""
    begun: dict[QuoteId, Quote] = {}
    quotes: dict[QuoteId, _Moved] = {}
    orders: dict[OrderId, _Moved] = {}
    facts: list[rows.Row] = []
    for note in notes:
        for quote in note.begun:
            begun[quote.id] = quote
        if (change := note.step) is None:
            continue
        fact, order, quote = change.fact, change.order, change.quote
        assert order is not None
        known = orders.get(order.id)
        if known is None:
            known = orders[order.id] = _Moved(_ORDER_BEFORES[type(fact)], order, fact)
        known.entity, known.fact = order, fact
        known.facts += 1
        known.found = known.found or isinstance(fact, OrderAccepted | OrderFound)
        facts.append((order.id, note.position))
        if quote is None:
            pass
        elif quote.id in begun:
            begun[quote.id] = quote
        elif (moved := quotes.get(quote.id)) is None:
            quotes[quote.id] = _Moved(_QUOTE_BEFORES[type(fact)], quote, fact)
        else:
            moved.entity = quote
    _put_orders(db, orders.values())
    _begin_quotes(db, begun.values())
    _move_quotes(db, quotes.values())
    insert(db, "order_facts", ("order_id", "position"), facts)


def _put_orders(db: sqlite3.Connection, touched: Iterable[_Moved]) -> None:
    begun: list[rows.Row] = []
    moved: dict[_Keys, list[rows.Row]] = {}
    for one in touched:
        row = rows.order_row(one.entity, rows.not_before_of(one.fact))
        if one.befores is None:
            begun.append((*row, rows.seal(row), one.facts))
        else:
            keys = (one.found, one.entity.state in rows.LETS_GO)
            _, chosen = _order_settings(keys)
            moved.setdefault(keys, []).append((row[0], one.befores, *chosen(row), rows.seal(row), one.facts))
    # Moves come first: an order that begins may take a quote that one of them lets go.
    for keys, values in moved.items():
        move(db, partial(_orders_moved, keys), values, "an order")
    insert(db, "orders", _ORDER_COLUMNS, begun)


def _begin_quotes(db: sqlite3.Connection, begun: Iterable[Quote]) -> None:
    made = rows.quote_rows(begun)
    insert(db, "quotes", (*rows.QUOTE_COLUMNS, "seal"), [(*row, rows.seal(row)) for row in made])


def _move_quotes(db: sqlite3.Connection, touched: Iterable[_Moved]) -> None:
    moved: list[rows.Row] = []
    for one in touched:
        row = rows.quote_row(one.entity)
        moved.append((row[0], one.befores, *row[rows.QUOTE_FIXED :], rows.seal(row)))
    move(db, _quotes_moved, moved, "a quote")


_Keys: TypeAlias = tuple[bool, bool]
"""Which columns that have keys an update of an order sets: its id at the venue, its hold on the quote. Setting the
others would make SQLite write their keys' pages anew."""


@cache
def _order_settings(keys: _Keys) -> tuple[tuple[str, ...], Callable[[rows.Row], rows.Row]]:
    """The columns that an update sets, and how to take them from a row."""
    left = {name for name, kept in zip(("venue_order_id", "holds"), keys, strict=True) if not kept}
    chosen = [at for at, name in enumerate(rows.ORDER_COLUMNS) if at >= rows.ORDER_FIXED and name not in left]
    return tuple(rows.ORDER_COLUMNS[at] for at in chosen), itemgetter(*chosen)


def _orders_moved(keys: _Keys, height: int) -> str:
    columns, _ = _order_settings(keys)
    return moving("orders", (*columns, "seal"), height, "facts = orders.facts + {}")


def _quotes_moved(height: int) -> str:
    return moving("quotes", (*rows.QUOTE_COLUMNS[rows.QUOTE_FIXED :], "seal"), height, "")
