"""What was never read from the exchange is not answered as if it were empty."""

from __future__ import annotations

import pytest

from parallax.domain.errors import NotReadYet
from tests.api.support import USER, World


@pytest.mark.parametrize("root", ["/api", "/exchange/api"])
async def test_nothing_that_was_never_read_is_called_empty(world: World, root: str) -> None:
    for age in (world.desk.users_age, world.desk.quotes_age):
        age.read_at = None
    await world.fault("status", status=503, on=["users", "quotes", "orders"], times=1000)
    calls = [f"/users/{USER}/orders", "/users", "/quotes"]
    if root == "/api":
        calls += ["/orders", f"/orders?user={USER}", f"/users/{USER}/orders?limit=1", "/quotes?limit=1"]
    for path in calls:
        got = await world.call("GET", root + path)
        assert got.status == 503, path
        assert int(got.headers["retry-after"]) >= 1
        assert "read" in str(got.json["errors"])
        if root == "/api":
            assert got.json["code"] == NotReadYet.code
            assert got.json["retry"] is True
