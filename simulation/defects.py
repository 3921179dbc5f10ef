"""Planted defects: mistakes that desks like this one are known to make, each put into the real desk while a seed runs.

They check the checker. Nothing of this is in the shipped package: each is a patch over it, undone after the run.
"""

# ruff: noqa: SLF001 - a defect sits inside
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final
from unittest.mock import patch

from msgspec.structs import replace

from parallax.desk import readings, reconciliation
from parallax.desk.books import Books
from parallax.desk.desk import Desk
from parallax.desk.execution import Execution
from parallax.desk.ledger import Ledger
from parallax.desk.tracker import Tracker
from parallax.domain import state as folding
from parallax.domain.entities import Order, Quote
from parallax.domain.errors import VenueUnavailable
from parallax.domain.facts import (
    AnswerLost,
    Fact,
    OrderClaimed,
    OrderFact,
    OrderFound,
    OrderWithdrawn,
    QuoteIssued,
)
from parallax.domain.money import Money, Rate
from parallax.domain.transitions import ORDER_STEPS, QUOTE_FACTS, QUOTE_STEPS, OrderState, QuoteState
from parallax.journal.judging import Ahead
from parallax.ports.venue import OrderRequest, Outcome, Purpose, Refused, Unknown, VenueOrderStatus, VenueTime
from parallax.venues import wire
from parallax.venues.api import CallFailed
from parallax.venues.clock import VenueClockEstimate
from parallax.venues.exchange_api import ExchangeApi
from parallax.venues.gateway import Gateway
from simulation.disk import Disk

Plant = Callable[[], Any]
S, Q = OrderState, QuoteState


@dataclass(frozen=True, slots=True)
class Defect:
    """A mistake, in words, and what puts it into the desk."""

    name: str
    what: str
    plant: Plant


DEFECTS: Final[dict[str, Defect]] = {}


def _defect(what: str) -> Callable[[Callable[[ExitStack], None]], Callable[[ExitStack], None]]:
    """Register a function that plants a defect, under its name."""

    def register(apply: Callable[[ExitStack], None]) -> Callable[[ExitStack], None]:
        @contextmanager
        def plant() -> Generator[None]:
            with ExitStack() as stack:
                apply(stack)
                yield

        name = apply.__name__.removeprefix("_")
        DEFECTS[name] = Defect(name, what, plant)
        return apply

    return register


def _swap(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    stack.enter_context(patch.object(owner, name, value))


def _steps(stack: ExitStack, table: dict[Any, Any], more: dict[Any, Any]) -> None:
    stack.enter_context(patch.dict(table, more))


# Claiming and sending


@_defect("the request leaves while the claim is still on its way to the disk")
def _claim_after_send(stack: ExitStack) -> None:
    carry_out = Execution._carry_out

    async def impatient(self: Execution, order_id: Any, claim: asyncio.Future[Any]) -> None:
        claim.add_done_callback(lambda done: done.exception())
        at_once = asyncio.get_running_loop().create_future()
        at_once.set_result(())
        await carry_out(self, order_id, at_once)

    _swap(stack, Execution, "_carry_out", impatient)


@_defect("the journal says that facts are durable before the disk has synced them")
def _claim_not_fsynced(stack: ExitStack) -> None:
    def sync(self: Any, entries: Sequence[Any], durable: Callable[[], None]) -> None:
        crashes = self._crashes
        self._loop.call_soon(lambda: durable() if self._crashes == crashes else None)

        def later() -> None:
            if self._crashes == crashes:
                self._keep(entries)

        self._loop.call_later(self._delay(), later)

    _swap(stack, Disk, "sync", sync)


@_defect("a request without an answer is sent again")
def _resend_on_timeout(stack: ExitStack) -> None:
    place = ExchangeApi.place_order

    async def stubborn(self: ExchangeApi, request: OrderRequest) -> Any:
        try:
            return await place(self, request)
        except CallFailed:
            return await place(self, request)

    _swap(stack, ExchangeApi, "place_order", stubborn)


@_defect("the last check is made before there is a connection")
def _checked_too_early(stack: ExitStack) -> None:
    async def hasty(
        self: Gateway, request: OrderRequest, *, before: datetime, last_check: Callable[[], None]
    ) -> Outcome:
        entry = self._enter(Purpose.SEND, max(0.0, (before - self.arrival()).total_seconds()))
        try:
            await self._turn(entry)
            last_check()
            entry.use()
            await self._api.connect()
            return await self._sent(request)
        except CallFailed as failed:
            return Unknown(failed.cause, failed.detail)
        finally:
            entry.leave()

    _swap(stack, Gateway, "place_order", hasty)


@_defect("a time-out or a lost connection is taken for a refusal")
def _timeout_is_refused(stack: ExitStack) -> None:
    sent = Gateway._sent

    async def hasty(self: Gateway, request: OrderRequest) -> Outcome:
        outcome = await sent(self, request)
        if isinstance(outcome, Unknown) and outcome.cause in ("timeout", "connection_lost"):
            return Refused(504, ("no answer",), leaves_quote_usable=True)
        return outcome

    _swap(stack, Gateway, "_sent", hasty)


@_defect("a 5xx is taken for a refusal")
def _error_is_refused(stack: ExitStack) -> None:
    outcome_of = wire.order_outcome

    def hasty(request: OrderRequest, status: int, body: bytes) -> Outcome:
        if status >= 500:
            return Refused(status, ("server error",), leaves_quote_usable=True)
        return outcome_of(request, status, body)

    _swap(stack, wire, "order_outcome", hasty)


@_defect("a success that cannot be read is taken for a refusal")
def _garbage_is_refused(stack: ExitStack) -> None:
    outcome_of = wire.order_outcome

    def hasty(request: OrderRequest, status: int, body: bytes) -> Outcome:
        outcome = outcome_of(request, status, body)
        if status in wire.SUCCESS and isinstance(outcome, Unknown):
            return Refused(status, ("unreadable",), leaves_quote_usable=True)
        return outcome

    _swap(stack, wire, "order_outcome", hasty)


@_defect("every 4xx is believed at once, also “this quote was used” after our own twin")
def _doubt_believed(stack: ExitStack) -> None:
    outcome_of = wire.order_outcome

    def trusting(request: OrderRequest, status: int, body: bytes) -> Outcome:
        outcome = outcome_of(request, status, body)
        return replace(outcome, leaves_quote_usable=True) if isinstance(outcome, Refused) else outcome

    _swap(stack, wire, "order_outcome", trusting)


@_defect("whether a quote is free is looked up, then claimed a moment later, and nothing else guards it")
def _check_then_act(stack: ExitStack) -> None:
    claim, claimable = Execution.claim, Execution._claimable

    async def slow(self: Execution, quote_id: Any, user_id: Any, *given: Any, **named: Any) -> Order:
        found = claimable(self, quote_id, user_id)
        await asyncio.sleep(0)
        self._claimable = lambda quote_id, user_id: found  # noqa: ARG005 - called by these names
        return await claim(self, quote_id, user_id, *given, **named)

    _steps(stack, QUOTE_STEPS, {(Q.CLAIMED, OrderClaimed): Q.CLAIMED, (Q.EXECUTED, OrderClaimed): Q.CLAIMED})
    _swap(stack, Ahead, "holder", lambda *_: None)
    _swap(stack, Execution, "claim", slow)


@_defect("a lost answer frees the quote, so that it can be tried again")
def _unknown_frees_the_quote(stack: ExitStack) -> None:
    _steps(stack, QUOTE_STEPS, {(Q.CLAIMED, AnswerLost): Q.ACTIVE})
    _swap(stack, folding, "QUOTE_FACTS", QUOTE_FACTS | {AnswerLost})


@_defect("an order whose sending was cut short counts as withdrawn, whether or not it had left")
def _sent_is_withdrawn(stack: ExitStack) -> None:
    async def careless(self: Execution, order_id: Any, words: str) -> None:
        order = self._order(order_id)
        await self._ledger.record(OrderWithdrawn(self._clock.now(), order_id, order.quote_id, words))

    _steps(stack, ORDER_STEPS, {(S.SENT, OrderWithdrawn): S.WITHDRAWN})
    _swap(stack, Execution, "_not_sent_or_lost", careless)


@_defect("somebody who leaves takes the order along, wherever it is")
def _cancelled_caller(stack: ExitStack) -> None:
    execute = Desk.execute

    async def fragile(self: Desk, *given: Any, **named: Any) -> Order:
        before = set(self._execution._running)
        try:
            return await execute(self, *given, **named)
        except asyncio.CancelledError:
            for order_id, task in self._execution._running.items():
                if order_id not in before:
                    task.cancel()
            raise

    async def nothing(*_: Any) -> None:
        return None

    _swap(stack, Desk, "execute", fragile)
    _swap(stack, Execution, "_not_sent_or_lost", nothing)


# Keys


@_defect("a desk that starts again no longer knows which order a key belongs to")
def _keys_forgotten(stack: ExitStack) -> None:
    keyed, lives = Desk._keyed, dict[Desk, int]()

    async def forgetful(self: Desk, key: str) -> Any:
        return await keyed(self, f"{lives.setdefault(self, len(lives))} {key}")

    _swap(stack, Desk, "_keyed", forgetful)


@_defect("a claim that is on its way to the disk is no order yet for whoever asks by its key")
def _claim_under_way_is_none(stack: ExitStack) -> None:
    _swap(stack, Desk, "_placed_order", Desk._known_order)


# Time


@_defect("a quote's end is judged by this machine's clock")
def _local_clock(stack: ExitStack) -> None:
    def read(self: VenueClockEstimate) -> VenueTime:
        return VenueTime(self._clock.now(), timedelta(seconds=0.1))

    _swap(stack, VenueClockEstimate, "read", read)


# Absence


@_defect("absence counts from the moment of the loss, not from the quote's end and the grace after it")
def _absence_too_early(stack: ExitStack) -> None:
    _swap(stack, Execution, "_conclusive_after", lambda self, _order: self._venue.clock.now())


@_defect("absence counts from the quote's end, without the grace for what is still under way")
def _no_grace(stack: ExitStack) -> None:
    _swap(stack, Execution, "_conclusive_after", lambda self, order: self._quote(order).expires_at)


@_defect("a list that could not be read counts as an empty one")
def _failed_reads_count(stack: ExitStack) -> None:
    orders = Gateway.orders

    async def blind(self: Gateway, *given: Any) -> Any:
        try:
            return await orders(self, *given)
        except VenueUnavailable:
            return []

    _swap(stack, Gateway, "orders", blind)


@_defect("one list without the order is proof enough")
def _one_read_is_proof(stack: ExitStack) -> None:
    _swap(stack, reconciliation, "ABSENCE_READS", 1)


@_defect("lists that were asked for at the same moment count as three")
def _reads_not_spaced(stack: ExitStack) -> None:
    _swap(stack, reconciliation, "READ_SPACING", timedelta(days=-1))


# Forward only


@_defect("a late list takes a settled order back to pending")
def _status_goes_back(stack: ExitStack) -> None:
    known = reconciliation._Reading._known

    def forgetful(self: Any, order: Order, listed: Any) -> None:
        if order.state in (S.COMPLETED, S.FAILED) and listed.status is VenueOrderStatus.PENDING:
            self._facts.append(OrderFound(self._now, order.id, order.quote_id, listed.id))
            self._concluded.add(order.id)
        else:
            known(self, order, listed)

    _steps(stack, ORDER_STEPS, {(S.COMPLETED, OrderFound): S.PENDING, (S.FAILED, OrderFound): S.PENDING})
    _swap(stack, reconciliation._Reading, "_known", forgetful)


@_defect("a settled order that the venue shows otherwise is changed without a word")
def _settled_flips(stack: ExitStack) -> None:
    known = reconciliation._Reading._known
    kinds = reconciliation._SETTLING

    def obedient(self: Any, order: Order, listed: Any) -> None:
        if order.state in (S.COMPLETED, S.FAILED) and listed.status.value not in (
            "pending",
            order.state.value,
        ):
            self._settle(order.id, order.quote_id, listed.status, None)
            self._concluded.add(order.id)
        else:
            known(self, order, listed)

    completed, failed = kinds[VenueOrderStatus.COMPLETED], kinds[VenueOrderStatus.FAILED]
    _steps(stack, ORDER_STEPS, {(S.FAILED, completed): S.COMPLETED, (S.COMPLETED, failed): S.FAILED})
    _swap(stack, reconciliation._Reading, "_known", obedient)


@_defect("a quote that is listed again becomes a second, active entity beside the first")
def _second_entity(stack: ExitStack) -> None:
    def all_new(_head: Any, quotes: Any, now: Any) -> list[Fact]:
        return [reconciliation.issued(quote, now, by="") for quote in quotes]

    def again(_known: Quote | None, fact: QuoteIssued, by: str = "") -> Quote:
        return issued(None, fact, by)

    issued = folding._issued
    _steps(stack, QUOTE_STEPS, {(state, QuoteIssued): Q.ACTIVE for state in Q})
    _swap(stack, readings, "quotes_facts", all_new)
    _swap(stack, folding, "_issued", again)


# Crashes


@_defect("a start forgets orders that were sent and not answered")
def _recovery_forgets(stack: ExitStack) -> None:
    def forgetful(_self: Execution) -> list[Fact]:
        return []

    _swap(stack, Execution, "recover", forgetful)


@_defect("a start sends orders again that have no answer")
def _recovery_resends(stack: ExitStack) -> None:
    recover = Execution.recover

    def eager(self: Execution) -> list[Fact]:
        facts = recover(self)
        for fact in facts:
            assert isinstance(fact, OrderFact)
            order = self._order(fact.order_id)
            request = OrderRequest(order.quote_id, order.user_id, order.amount.wire)

            async def again(request: OrderRequest = request, order: Order = order) -> None:
                await self._venue.place_order(
                    request, before=self._quote(order).expires_at, last_check=lambda: None
                )

            self._supervisor.task("again", again())
        return facts

    _swap(stack, Execution, "recover", eager)


@_defect("what is shown is not on the disk yet")
def _shown_before_durable(stack: ExitStack) -> None:
    ahead = Ledger._ahead

    def eager(self: Ledger, change: Any) -> None:
        ahead(self, change)
        self.books.put(change)

    _swap(stack, Ledger, "_ahead", eager)


# Following and showing


@_defect("after three failed looks nobody looks any more")
def _tracker_gives_up(stack: ExitStack) -> None:
    plan = Tracker._plan

    def weary(self: Tracker, user_id: Any) -> None:
        watch = self._watches.get(user_id)
        if watch is not None and watch.failures >= 3:
            return
        plan(self, user_id)

    _swap(stack, Tracker, "_plan", weary)


@_defect("an order found at the venue is taken in for whoever comes first")
def _adopted_for_anyone(stack: ExitStack) -> None:
    adopt = reconciliation._Reading._adopt

    def careless(self: Any, listed: Any) -> None:
        adopt(self, replace(listed, user_id=next(iter(self._head.books.users)).id))

    _swap(stack, reconciliation._Reading, "_adopt", careless)


@_defect("a user's list holds everybody's orders")
def _everybodys_orders(stack: ExitStack) -> None:
    def everything(self: Books, _user_id: Any) -> list[Order]:
        return list(self.orders)

    _swap(stack, Books, "orders_of", everything)


@_defect("a page of a list passes for the whole list")
def _a_page_is_whole(stack: ExitStack) -> None:
    usual = readings.Readings._weighed

    def trusting(self: Any, user_id: Any, listed: Any) -> Any:
        return usual(self, user_id, listed)[0], ""

    _swap(stack, readings.Readings, "_weighed", trusting)


# Mistakes that this desk has had, and that the simulation found


@_defect(
    "before the first answer, and after this machine's clock was set, its clock stands in for the venue's"
)
def _clock_never_heard(stack: ExitStack) -> None:
    async def trusting(_self: Desk) -> None:
        return None

    _swap(stack, Desk, "_know_the_time", trusting)


@_defect("a late list that shows a settled order as pending is taken for a contradiction")
def _late_list_contradicts(stack: ExitStack) -> None:
    _swap(stack, Ledger, "settled_after", lambda *_: False)


# Money


@_defect("results are computed with floats")
def _floats(stack: ExitStack) -> None:
    def convert(self: Rate, sent: Money) -> Money:
        product = float(sent.amount) * float(self.value)
        return Money(Decimal(repr(product)), self.to_currency).rounded

    _swap(stack, Rate, "convert", convert)


@_defect("results are rounded twice")
def _rounded_twice(stack: ExitStack) -> None:
    def convert(self: Rate, sent: Money) -> Money:
        fine = (sent.amount * self.value).quantize(self.to_currency.unit / 10, ROUND_HALF_UP)
        return Money(fine, self.to_currency).rounded

    _swap(stack, Rate, "convert", convert)


def find(defect: Defect, seeds: int) -> tuple[int, str] | None:
    """How many seeds it takes to find a defect, and the rule that it breaks; None when `seeds` do not."""
    from simulation.runner import run_seed

    for seed in range(seeds):
        result = run_seed(seed, defect=defect.plant)
        if result.violations:
            return seed + 1, result.violations[0].rule
    return None
