"""Each error of the desk has an answer over HTTP, and each word the pages need is there."""

from __future__ import annotations

from collections.abc import Iterator

from parallax.domain.errors import DeskError, VenueBusy
from parallax.domain.facts import IncidentKind
from parallax.domain.transitions import OrderState, QuoteStatus
from parallax.ports.venue import VenueHealth
from parallax.web import words
from parallax.web.problems import PROBLEMS, retry_after


def _kinds(kind: type[DeskError]) -> Iterator[type[DeskError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _kinds(each)


def test_the_map_from_code_to_answer_is_complete_and_holds_nothing_else() -> None:
    assert {kind.code for kind in _kinds(DeskError) if kind.__module__ == DeskError.__module__} == set(
        PROBLEMS
    )


def test_an_error_that_may_pass_is_a_5xx_and_one_that_will_not_is_a_4xx() -> None:
    for kind in _kinds(DeskError):
        if kind.__module__ == DeskError.__module__ and kind.code != "journal_failed":
            assert (PROBLEMS[kind.code].status >= 500) == kind.retry, kind


def test_a_wait_that_is_known_is_asked_for() -> None:
    assert retry_after(VenueBusy("later", 4.4)) == 4
    assert retry_after(VenueBusy("later", 0.1)) == 1
    assert retry_after(VenueBusy("later")) == 2
    assert retry_after(DeskError("never")) is None


def test_every_state_and_contradiction_has_its_words() -> None:
    assert set(words.ORDERS) == set(OrderState)
    assert set(words.QUOTES) == set(QuoteStatus)
    assert set(words.HEALTH) == set(VenueHealth)
    assert set(words.INCIDENTS) == set(IncidentKind)
