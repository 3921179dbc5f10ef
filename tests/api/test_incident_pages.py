"""Incidents come in pages, and resolving one between two pages neither repeats nor hides another."""

from __future__ import annotations

from parallax.domain.facts import IncidentKind, IncidentRaised
from parallax.domain.identity import IncidentId
from tests.api.support import World


async def test_incidents_are_paged(world: World) -> None:
    now = world.desk.now()
    raised = [
        IncidentRaised(now, IncidentId(f"i{n}"), IncidentKind.ORDER_VANISHED, "Gone.") for n in range(250)
    ]
    await world.desk._ledger.record(*raised)
    assert len((await world.call("GET", "/api/incidents")).data) == 250
    first = await world.call("GET", "/api/incidents?limit=100")
    assert [one["id"] for one in first.data] == [f"i{n}" for n in range(249, 149, -1)]
    assert first.json["meta"]["total"] == 250
    following = first.json["meta"]["next"]
    await world.desk.resolve_incident(IncidentId(following), "test", "")
    second = await world.call("GET", f"/api/incidents?limit=150&cursor={following}")
    assert [one["id"] for one in second.data] == [f"i{n}" for n in range(149, -1, -1)]
    assert second.json["meta"]["next"] is None
    resolved = await world.call("GET", "/api/incidents?resolved=true&limit=1000")
    assert len(resolved.data) == 250
    assert len((await world.call("GET", "/api/incidents?limit=1000")).data) == 249
