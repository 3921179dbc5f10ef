"""What the client repeats, believes and raises, without any I/O: conversations against scripted answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from parallax.client import calls
from parallax.client.calls import PAUSES, Ask, Lost, Pause, Reply
from parallax.client.errors import DeskUnavailable, OrderNotPlaced, OrderUnknown, RequestInvalid
from parallax.domain.errors import (
    AmountInvalid,
    DeskError,
    DeskPaused,
    DeskStopping,
    JournalFailed,
    NotFound,
    QuoteExpired,
    QuoteTaken,
    VenueBusy,
    VenueMisbehaved,
    VenueUnavailable,
)
from parallax.domain.identity import QuoteId
from parallax.domain.transitions import OrderState
from parallax.web.api import examples
from parallax.web.api.errors import every_problem
from parallax.web.api.openapi import RETRYABLE_CODES

KEY = "one-key"
NEVER_LEFT = Lost("cannot be reached", left=False)
LEFT = Lost("the connection went", left=True)


def good(data: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps({"data": data}).encode())


def problem(code: str, **beside: Any) -> Reply:
    status = int(every_problem()[code].status) if code in every_problem() else 418
    body = {"code": code, "detail": f"{code}.", "retry": code in RETRYABLE_CODES, **beside}
    return Reply(status, json.dumps(body).encode())


class Told:
    """Carries a conversation out against a script; keeps what was asked and how long was waited."""

    def __init__(self, *answers: Reply | Lost | Callable[[Ask], Reply]) -> None:
        self.answers = list(answers)
        self.asked: list[Ask] = []
        self.waited: list[float] = []

    def __call__(self, conversation: Any) -> Any:
        try:
            step = next(conversation)
            while True:
                if isinstance(step, Pause):
                    self.waited.append(step.seconds)
                    step = conversation.send(None)
                    continue
                self.asked.append(step)
                answer = self.answers.pop(0)
                step = conversation.send(answer(step) if callable(answer) else answer)
        except StopIteration as done:
            assert not self.answers, "everything was asked for"
            return done.value


def execute() -> Any:
    return calls.execute(QuoteId("q"), "u", "1.00", KEY, OrderUnknown)


def test_a_lost_order_is_repeated_under_one_key_and_answered_as_at_first() -> None:
    told = Told(NEVER_LEFT, LEFT, good(examples.ORDER, 201))
    assert told(execute()).id == examples.ORDER_ID
    assert [ask.headers["Idempotency-Key"] for ask in told.asked] == [KEY] * 3
    assert len({ask.body for ask in told.asked}) == 1
    assert len(told.waited) == 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("amount_invalid", AmountInvalid),
        ("quote_taken", QuoteTaken),
        ("quote_expired", QuoteExpired),
        ("desk_paused", DeskPaused),
        ("desk_stopping", DeskStopping),
        ("venue_unavailable", VenueUnavailable),
        ("venue_busy", VenueBusy),
        ("venue_misbehaved", VenueMisbehaved),
        ("journal_failed", JournalFailed),
        ("order_refused", OrderNotPlaced),
        ("order_withdrawn", OrderNotPlaced),
        ("order_not_placed", OrderNotPlaced),
        ("desk_turned_away", OrderNotPlaced),
        ("not_found", NotFound),
        ("request_invalid", RequestInvalid),
        ("idempotency_key_in_use", DeskUnavailable),
        ("of_a_later_version", RequestInvalid),
    ],
)
def test_a_refusal_is_believed_at_once_and_has_its_error(code: str, kind: type[DeskError]) -> None:
    with pytest.raises(DeskError) as raised:
        Told(problem(code))(execute())
    assert type(raised.value) is kind
    assert raised.value.words


def test_every_problem_of_the_api_has_an_error_with_the_same_hint() -> None:
    for code in every_problem():
        with pytest.raises(DeskError) as raised:
            Told(problem(code), LEFT)(execute())
        assert raised.value.retry is (code in RETRYABLE_CODES)


@pytest.mark.parametrize("code", ["desk_stopping", "desk_paused", "venue_unavailable", "journal_failed"])
def test_not_now_says_nothing_about_a_request_that_left_before(code: str) -> None:
    with pytest.raises(OrderUnknown) as raised:
        Told(LEFT, *[problem(code)] * len(PAUSES), problem(code))(execute())
    assert raised.value.order is None
    assert Told(LEFT, problem(code), good(examples.ORDER, 201))(execute()).id == examples.ORDER_ID


def test_a_lasting_refusal_after_a_loss_is_about_both_requests() -> None:
    with pytest.raises(QuoteTaken) as raised:
        Told(LEFT, problem("quote_taken", order_id="o1", by="page"))(execute())
    assert raised.value.order_id == "o1"


def test_what_never_left_is_no_unknown_order() -> None:
    told = Told(*[NEVER_LEFT] * (len(PAUSES) + 1))
    with pytest.raises(DeskUnavailable):
        told(execute())
    assert len(told.waited) == len(PAUSES)


@pytest.mark.parametrize(
    "answers",
    [
        [LEFT] * (len(PAUSES) + 1),
        [Lost("no answer in time", left=True, again=False)],
        [problem("internal")],
        [Reply(502, b"<html>Bad Gateway</html>")] * (len(PAUSES) + 1),
        [LEFT, *[Reply(404, b"<html>no such site</html>")] * len(PAUSES)],
        [LEFT, *[Reply(302, b"")] * len(PAUSES)],
        [Reply(408, b"")] * (len(PAUSES) + 1),
        [LEFT, *[problem("idempotency_key_in_use")] * len(PAUSES)],
        [Reply(201, b"{}")],
        [Reply(201, b'{"data":{"id":1}}')],
        [Reply(200, b"\xff")],
        [good({**examples.ORDER, "from_amount": "NaN"}, 201)],
    ],
)
def test_what_is_neither_yes_nor_no_is_unknown(answers: list[Reply | Lost]) -> None:
    for silence in (good([]), LEFT, problem("desk_stopping"), Reply(502, b"")):
        told = Told(*answers, silence)
        with pytest.raises(OrderUnknown) as raised:
            told(execute())
        assert (raised.value.quote_id, raised.value.order) == ("q", None)
        assert told.asked[-1].path == f"/orders?idempotency_key={KEY}"
        with pytest.raises(OrderUnknown) as raised:
            Told(*answers, good([examples.UNKNOWN_ORDER]))(execute())
        assert raised.value.order_id == examples.ORDER_ID


def test_when_every_answer_is_lost_the_order_under_the_key_is_the_answer() -> None:
    lost = [LEFT] * (len(PAUSES) + 1)
    assert Told(*lost, good([examples.SETTLED_ORDER]))(execute()).state is OrderState.COMPLETED
    for state in ("refused", "withdrawn", "not_placed"):
        with pytest.raises(OrderNotPlaced) as raised:
            Told(*lost, good([{**examples.ORDER, "state": state}]))(execute())
        assert (raised.value.state, raised.value.order_id) == (state, examples.ORDER_ID)


def test_an_order_without_an_answer_is_named() -> None:
    with pytest.raises(OrderUnknown) as raised:
        Told(good(examples.UNKNOWN_ORDER, 202))(execute())
    assert raised.value.order_id == examples.ORDER_ID
    assert examples.ORDER_ID in str(raised.value)
    with pytest.raises(TypeError):
        _ = raised.value.resolve()
    with pytest.raises(TypeError):
        raised.value.wait()


def test_reads_are_repeated_and_then_say_that_the_desk_is_away() -> None:
    assert Told(LEFT, good([examples.USER]))(calls.users())[0].name == "User One"
    with pytest.raises(DeskUnavailable):
        Told(*[LEFT] * (len(PAUSES) + 1))(calls.users())


@pytest.mark.parametrize(
    "reply", [Reply(404, b"nothing here"), Reply(200, b"<html>"), Reply(200, b'{"data": 1}')]
)
def test_what_is_no_desk_is_said_to_be_none(reply: Reply) -> None:
    with pytest.raises(DeskUnavailable, match="no Parallax desk"):
        Told(reply)(calls.users())


@pytest.mark.parametrize(("named", "kind"), [("quote_id", "quote"), ("user_id", "user"), ("detail", "quote")])
def test_what_was_not_found_is_named(named: str, kind: str) -> None:
    with pytest.raises(NotFound) as raised:
        Told(problem("not_found", errors={named: ["no"]}))(execute())
    assert raised.value.kind == kind


@pytest.mark.parametrize("code", ["not_found", "no_such_call"])
def test_an_id_cannot_change_what_is_asked_for(code: str) -> None:
    told = Told(problem(code))
    with pytest.raises(NotFound):
        told(calls.quote("../users?x=1#y"))
    assert told.asked[0].path == "/quotes/..%2Fusers%3Fx%3D1%23y"


def test_a_long_list_is_read_in_pages() -> None:
    def page(ask: Ask) -> Reply:
        body = {"data": [examples.QUOTE] * 2, "meta": {"next": "further"}}
        return Reply(200, json.dumps(body).encode())

    told = Told(page, page)
    assert len(told(calls.quotes(("active",), None, 4))) == 4
    assert "limit=4" in told.asked[0].path
    assert "cursor" not in told.asked[0].path
    assert "cursor=further" in told.asked[1].path
    assert "status=active" in told.asked[1].path


class Minutes:
    """A clock that goes on with every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def resolve(known: Any = None, deadline: float = 100.0) -> Any:
    return calls.resolve(QuoteId("q"), known, KEY, deadline, Minutes(), OrderUnknown)


HELD = {**examples.QUOTE, "status": "claimed", "order_id": examples.ORDER_ID}
OURS = examples.ORDER


def test_an_order_whose_answer_was_lost_is_found_by_its_key() -> None:
    unanswered = {**OURS, "state": "unknown"}
    told = Told(good(examples.QUOTE), good([]), good(HELD), good([unanswered]), good(unanswered), good(OURS))
    assert told(resolve()).state is OrderState.PENDING
    assert KEY in told.asked[3].path


@pytest.mark.parametrize("state", ["refused", "withdrawn"])
def test_an_order_that_freed_its_quote_is_found_by_its_key(state: str) -> None:
    """Its quote names no order any more; that it never reached the desk would be untrue."""
    came_to_nothing = {**OURS, "state": state}
    with pytest.raises(OrderNotPlaced) as raised:
        Told(good(examples.QUOTE), good([came_to_nothing]), good(came_to_nothing))(resolve())
    assert (raised.value.state, raised.value.order_id) == (state, examples.ORDER_ID)


def test_an_order_that_never_arrived_is_so_once_its_quote_has_ended() -> None:
    over = {**examples.QUOTE, "status": "expired"}
    with pytest.raises(OrderNotPlaced):
        Told(good(examples.QUOTE), good([]), LEFT, good(over), good([]))(resolve())


def test_anothers_order_is_not_taken_for_ours() -> None:
    with pytest.raises(QuoteTaken) as raised:
        Told(good(HELD), good([]), good({**examples.ORDER, "by": "page"}))(resolve())
    assert raised.value.order_id == examples.ORDER_ID


def test_a_proven_absence_is_told() -> None:
    with pytest.raises(OrderNotPlaced) as raised:
        Told(good(HELD), good([OURS]), good({**OURS, "state": "not_placed"}))(resolve())
    assert raised.value.state is OrderState.NOT_PLACED


def test_resolving_ends_in_time_and_can_be_asked_again() -> None:
    with pytest.raises(OrderUnknown):
        Told(*[good(examples.QUOTE), good([])] * 2)(resolve(deadline=2.15))


def test_settling_is_waited_for_over_a_lost_connection() -> None:
    gone = [NEVER_LEFT] * (len(PAUSES) + 1)
    told = Told(good(examples.ORDER), *gone, good(examples.SETTLED_ORDER))
    assert told(calls.settled(examples.ORDER_ID, 100.0, Minutes())).state is OrderState.COMPLETED
    with pytest.raises(TimeoutError, match="pending"):
        Told(good(examples.ORDER))(calls.settled(examples.ORDER_ID, 1.0, Minutes()))


@pytest.mark.parametrize("amount", [1.5, True, None, b"1", float("nan")])
def test_an_amount_that_is_not_exact_is_refused_here(amount: Any) -> None:
    with pytest.raises(AmountInvalid):
        calls.amount_text(amount)
