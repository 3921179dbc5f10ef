"""docs/venues.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from parallax.venues import exchange_api, gateway, reasons, wire
from parallax.venues.breaker import BreakerSettings
from parallax.venues.budget import Limits
from parallax.venues.exchange_api import Timeouts
from parallax.venues.gateway import GatewaySettings

TEXT = (Path(__file__).parents[2] / "docs" / "venues.md").read_text(encoding="utf-8")
FLAT = " ".join(TEXT.split())


def statuses_of(outcome: str) -> set[int]:
    """The statuses in the first column of the row with this outcome."""
    (row,) = re.findall(rf"^\| ([0-9, ]+) \| {outcome}", TEXT, re.MULTILINE)
    return {int(status) for status in row.split(",")}


def test_the_outcome_policy_is_the_one_in_the_code() -> None:
    assert statuses_of("refused, quote usable") == set(wire.NEVER_CARRIED_OUT)
    assert statuses_of("unknown `status_408`") == set(wire.NO_ANSWER)
    for status in sorted(wire.AMOUNT_REFUSALS):
        assert re.search(rf"^\| [0-9, ]*{status}[0-9, ]* whose named fields", TEXT, re.MULTILINE)
    for field in wire.AMOUNT_FIELDS:
        assert f"`{field}`" in TEXT


def test_the_numbers_are_the_ones_in_the_code() -> None:
    limits, breaker, settings, times = Limits(), BreakerSettings(), GatewaySettings(), Timeouts()
    for words in (
        f"{limits.calls_per_second:g} calls a second with a burst of {limits.burst}, {limits.concurrency} at once",
        f"{limits.kept_for_sends} places are kept for sends and {limits.kept_for_resolves} for resolves",
        f"{limits.queue:,} of each may wait",
        f"| a new quote | {settings.quote_patience:g} s |",
        f"| a read for an unknown order | {settings.resolve_patience:g} s |",
        f"| other reads | {settings.read_patience:g} s |",
        f"at most {gateway.MAX_PAUSE / 60:g} minutes",
        f"the pause is {gateway.FIRST_PAUSE:g} s, doubled with each 429 in a row up to {gateway.LONGEST_PAUSE:g} s",
        f"{breaker.failures} failures in a row, or {breaker.share:.0%}".replace("%", " %"),
        f"at least {breaker.least_calls} calls within {breaker.window:g} s",
        f"After about {breaker.first_delay:g} s, doubled up to {breaker.longest_delay:g} s",
        f"users, a quote and an order {times.users:g} s, a user's orders and sending {times.send:g} s",
        f"all quotes {times.quotes:g} s.",
        f"at most {reasons.MAX_REASONS} of {reasons.MAX_REASON_LENGTH} characters",
        f"idle for more than {exchange_api.IDLE_CONNECTION_SECONDS:g} s",
        f"{exchange_api.MAX_ANSWER // 2**20} MiB",
        f"{gateway.FIRST_SEND_SECONDS:g} s until {gateway.LATENCIES_NEEDED} were seen",
        f"{gateway.LONGEST_MARGIN.total_seconds():g} s in all at most",
    ):
        assert words in FLAT
    assert times.users == times.quote == times.order
    assert times.orders == times.send
    assert settings.retries == 2
