"""`/metrics`: how the desk, its calls and its duties do, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.responses import Response

from parallax.desk.desk import Desk
from parallax.desk.supervision import DutyState

PREFIX: Final = "parallax_"


class DeskCollector(Collector):
    """Reads the desk when it is asked; nothing is counted twice."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        desk, status = self._desk, self._desk.status
        for name, words, value in (
            ("journal_position", "Facts recorded so far.", desk.position),
            ("open_orders", "Orders that are pending or unknown.", status.open_orders),
            (
                "live_quotes",
                "Quotes that an order can be placed on.",
                desk.books.live_count(desk.venue_now()),
            ),
            ("known_quotes", "Quotes kept in memory.", len(desk.books.quotes)),
            ("known_orders", "Orders kept in memory.", len(desk.books.orders)),
            ("open_incidents", "Contradictions that nobody has resolved.", status.open_incidents),
            ("listeners", "Open subscriptions to the feed: pages and event streams.", desk.feed.listeners),
            ("paused", "1 while new orders are paused.", status.pause is not None),
            ("journal_failed", "1 when the journal takes no more.", status.journal_failed is not None),
        ):
            yield GaugeMetricFamily(PREFIX + name, words, value=float(value))
        restarts = CounterMetricFamily(
            PREFIX + "duty_restarts", "How often a duty was restarted.", labels=["duty"]
        )
        running = GaugeMetricFamily(PREFIX + "duty_running", "1 while a duty is at work.", labels=["duty"])
        for duty in desk.duties:
            restarts.add_metric([duty.name], float(duty.restarts))
            running.add_metric([duty.name], float(duty.state is DutyState.RUNNING))
        yield restarts
        yield running


def metrics_router(desk: Desk, registry: CollectorRegistry) -> APIRouter:
    """The page that Prometheus reads; what the registry holds already is shown with it."""
    registry.register(DeskCollector(desk))
    router = APIRouter(include_in_schema=False)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router
