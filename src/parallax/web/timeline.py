"""An order's facts as a story: what happened, when, and what it means, one step a fact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

from parallax.domain.entities import Incident
from parallax.domain.facts import (
    AbsenceProven,
    AnswerLost,
    Fact,
    IncidentRaised,
    OrderAccepted,
    OrderAdopted,
    OrderClaimed,
    OrderCompleted,
    OrderFailed,
    OrderFound,
    OrderMissing,
    OrderRefused,
    OrderSent,
    OrderWithdrawn,
    RefusalConfirmed,
    RefusalDoubted,
)
from parallax.domain.plurals import count
from parallax.ports.journal import StoredFact
from parallax.web.words import cause, who

_DOUBT: Final = (
    "A refusal like this can also mean that the exchange has the order already, so its list decides."
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a timeline: when, a title, details in words, its colour, and where it is in the journal.

    `request` is the exact body that was sent. `times` is how many facts of one kind in a row it stands for, and
    `until` when the last of them was."""

    at: datetime
    title: str
    detail: str
    tone: str
    position: int
    request: str = ""
    times: int = 1
    until: datetime | None = None


def timeline(facts: Sequence[StoredFact], incidents: Sequence[Incident] = ()) -> list[Step]:
    """The steps of an order, oldest first, with when its incidents were raised and resolved. Looks that found nothing
    and prove nothing are told together."""
    steps: list[Step] = []
    for inconclusive, group in groupby(facts, key=_inconclusive):
        stored = list(group)
        if inconclusive and len(stored) > 1:
            first, last = stored[0], stored[-1]
            title = f"Looked {len(stored)} times, not there yet"
            detail = "The reads of the full list came too early to prove anything."
            steps.append(
                Step(
                    first.fact.at,
                    title,
                    detail,
                    "mute",
                    first.position,
                    times=len(stored),
                    until=last.fact.at,
                )
            )
        else:
            steps += [_step(each) for each in stored]
    raised = {stored.fact.incident_id for stored in facts if isinstance(stored.fact, IncidentRaised)}
    for incident in incidents:
        if incident.id not in raised:  # it is about the quote, and names no order
            steps.append(Step(incident.raised_at, "Incident", incident.words, "bad", 0))
        if incident.resolved_at is not None:
            detail = f"By {who(incident.resolved_by)}: {incident.note}"
            steps.append(Step(incident.resolved_at, "Incident resolved", detail, "good", 0))
    return sorted(steps, key=lambda step: step.at)


def _inconclusive(stored: StoredFact) -> bool:
    return isinstance(stored.fact, OrderMissing) and not stored.fact.counts


def _step(stored: StoredFact) -> Step:
    title, detail, tone, request = _told(stored.fact)
    return Step(stored.fact.at, title, detail, tone, stored.position, request)


def _told(fact: Fact) -> tuple[str, str, str, str]:  # noqa: C901 - one line a fact
    match fact:
        case OrderClaimed():
            return "Quote claimed", f"By {who(fact.by)}. Durable before anything was sent.", "busy", ""
        case OrderSent():
            return "Order sent", "The one request left the desk:", "busy", fact.request
        case OrderAccepted():
            return "Accepted", f"The exchange took it as {fact.venue_order_id}.", "info", ""
        case OrderRefused():
            return "Refused", _reasons(fact.status, fact.reasons), "bad", ""
        case OrderWithdrawn():
            return "Withdrawn before sending", fact.reason, "mute", ""
        case RefusalDoubted():
            return (
                "Refused, and checked",
                f"{_reasons(fact.status, fact.reasons)} {_DOUBT}",
                "warn",
                "",
            )
        case AnswerLost():
            words = cause(fact.cause)
            return "No clear answer", f"{words[0].upper()}{words[1:]}. {fact.detail}", "warn", ""
        case OrderMissing():
            counts = "It counts as evidence." if fact.counts else "Too early to prove anything."
            return "Looked, not there", f"A full read of {_orders(fact.listed)}. {counts}", "mute", ""
        case OrderFound():
            return "Found at the exchange", f"It is there as {fact.venue_order_id}.", "info", ""
        case AbsenceProven():
            return "Proven absent", fact.evidence, "bad", ""
        case RefusalConfirmed():
            return "Refusal confirmed", fact.evidence, "bad", ""
        case OrderCompleted():
            return "Completed", "The exchange shows it as carried out.", "good", ""
        case OrderFailed():
            return "Failed", "The exchange shows it as failed.", "bad", ""
        case OrderAdopted():
            return "Found, placed elsewhere", f"It is at the exchange as {fact.venue_order_id}.", "info", ""
        case IncidentRaised():
            return "Incident", fact.words, "bad", ""
        case _:
            return type(fact).__name__, "", "mute", ""


def _reasons(status: int, reasons: Sequence[str]) -> str:
    said = "; ".join(reasons) or "no reason given"
    return f"The exchange answered {status}: {said}."


def _orders(number: int) -> str:
    return "the list, which was empty" if number == 0 else count(number, "order")
