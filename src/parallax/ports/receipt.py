"""An order's receipt: its facts with their place in the journal's hash chain, to be checked by anyone, offline.

A receipt is a JSON document. It carries each fact of the order as it was recorded, with position and hash, and of the
facts in between (which belong to others) the digests alone: enough to compute the chain from the first fact to the
last, and nothing of what they say. Whoever also knows a later hash of the journal, from a receipt or a backup, knows
that the order's story has not been rewritten.

Where more than `MAX_GAP` facts lie between two of the order's, or `MAX_DIGESTS` are spent, the digests are left out:
the receipt then has several parts, each a chain of its own, and verification says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from parallax.domain.facts import Fact, IncidentRaised, OrderFact
from parallax.domain.identity import OrderId
from parallax.domain.transitions import ORDER_STEPS, OrderState
from parallax.ports.codec import chained, decode, digest, encode
from parallax.ports.journal import GENESIS, MAX_PAGE, StoredFact

FORMAT: Final = "parallax-receipt/1"

MAX_GAP: Final = 1_000
"""Facts of others between two of the order's that a receipt bridges: minutes of a busy desk, 67 KB."""

MAX_DIGESTS: Final = 10_000
"""Digests in one receipt: about 670 KB."""

MAX_RECEIPT: Final = 8 * 1024 * 1024
"""Bytes of a document that is looked at as a receipt: a thousand facts and all digests are below half of it."""

ReadFacts = Callable[[int, int], Coroutine[Any, Any, Sequence[StoredFact]]]
"""Read up to so many facts after a position, as `Journal.facts` does."""


class ReceiptInvalid(Exception):
    """The document is no receipt, or it does not verify; the words say where."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a receipt proves: the order, its state after its last fact, its facts, and in how many `parts` (chains
    without a gap) they come. `head` is the hash of the last fact, to compare with another receipt or the journal."""

    order_id: OrderId
    state: OrderState
    facts: Sequence[Fact]
    first_position: int
    last_position: int
    parts: int
    head: str


async def build(order_id: OrderId, own: Sequence[StoredFact], read: ReadFacts) -> bytes:
    """The receipt of an order from its facts, oldest first. Raises `ValueError` when there are none."""
    if not own:
        raise ValueError("an order without facts has no receipt")
    entries: list[dict[str, Any]] = []
    before: StoredFact | None = None
    budget = MAX_DIGESTS
    for stored in own:
        gap = stored.position - before.position - 1 if before else 0
        entry: dict[str, Any] = {"position": stored.position, "record": encode(stored.fact).decode()}
        if before is None or gap > min(MAX_GAP, budget):
            entry["hash_before"] = await _hash_at(stored.position - 1, read)
        elif gap:
            budget -= gap
            between = await _between(before.position, gap, read)
            entry["digests_before"] = [each.digest.hex() for each in between]
        entry["hash"] = stored.hash.hex()
        entries.append(entry)
        before = stored
    document = {"format": FORMAT, "order_id": order_id, "facts": entries}
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


async def _hash_at(position: int, read: ReadFacts) -> str:
    if position == 0:
        return GENESIS.hex()
    (stored,) = await read(position - 1, 1)
    return stored.hash.hex()


async def _between(after: int, count: int, read: ReadFacts) -> list[StoredFact]:
    found: list[StoredFact] = []
    while len(found) < count:
        found += await read(after + len(found), min(count - len(found), MAX_PAGE))
    return found


def verify(document: bytes) -> Verified:
    """Check a receipt from its bytes alone. Raises `ReceiptInvalid`."""
    order_id, entries = _opened(document)
    state: OrderState | None = None
    facts: list[Fact] = []
    position, parts, running = 0, 0, b""
    for number, entry in enumerate(entries, 1):
        where = f"fact {number} of {len(entries)}"
        at = entry.get("position")
        if not isinstance(at, int) or at <= position:
            raise ReceiptInvalid(f"{where}: positions must rise")
        record = _text(entry, "record", where).encode()
        if "hash_before" in entry:
            running, parts = _hash(entry["hash_before"], where), parts + 1
        elif not parts:
            raise ReceiptInvalid(f"{where}: the hash before the first fact is missing")
        else:
            between = entry.get("digests_before", [])
            if not isinstance(between, list) or len(cast("list[object]", between)) != at - position - 1:
                raise ReceiptInvalid(f"{where}: {at - position - 1} digests must stand before it")
            for each in cast("list[object]", between):
                running = chained(running, _hash(each, where))
        running = chained(running, digest(record))
        if running != _hash(entry.get("hash"), where):
            raise ReceiptInvalid(f"{where}: the hash does not follow from what stands before it")
        fact = _fact(record, order_id, where)
        if isinstance(fact, OrderFact):
            state = ORDER_STEPS.get((state, type(fact)))
            if state is None:
                raise ReceiptInvalid(f"{where}: {type(fact).__name__} cannot happen there")
        facts.append(fact)
        position = at
    if state is None:
        raise ReceiptInvalid("no fact of the order is in it")
    return Verified(order_id, state, facts, entries[0]["position"], position, parts, running.hex())


def _opened(document: bytes) -> tuple[OrderId, list[dict[str, Any]]]:
    if len(document) > MAX_RECEIPT:
        raise ReceiptInvalid(f"a receipt has at most {MAX_RECEIPT} bytes")
    try:
        opened: object = json.loads(document)
    except (ValueError, RecursionError):
        raise ReceiptInvalid("it is not JSON") from None
    if not isinstance(opened, dict):
        raise ReceiptInvalid(f"it is not a {FORMAT} document")
    fields = cast("dict[str, object]", opened)
    order_id, entries = fields.get("order_id"), fields.get("facts")
    if fields.get("format") != FORMAT or not isinstance(order_id, str) or not isinstance(entries, list):
        raise ReceiptInvalid(f"it is not a {FORMAT} document")
    if not all(isinstance(entry, dict) for entry in cast("list[object]", entries)):
        raise ReceiptInvalid(f"it is not a {FORMAT} document")
    return OrderId(order_id), cast("list[dict[str, Any]]", entries)


def _fact(record: bytes, order_id: OrderId, where: str) -> Fact:
    try:
        fact = decode(record)
    except ValueError:
        raise ReceiptInvalid(f"{where}: the record is not a fact") from None
    named = fact.order_id if isinstance(fact, OrderFact | IncidentRaised) else order_id
    if named != order_id:
        raise ReceiptInvalid(f"{where}: it is about another order")
    return fact


def _text(entry: dict[str, Any], name: str, where: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise ReceiptInvalid(f"{where}: {name} is missing")
    return value


def _hash(value: object, where: str) -> bytes:
    try:
        found = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        found = b""
    if len(found) != len(GENESIS):
        raise ReceiptInvalid(f"{where}: a hash has {len(GENESIS)} bytes in hexadecimal")
    return found
