"""`/u/{user}/orders/{order}`: one order: its state in plain words, what is certain, its timeline, its receipt."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from parallax.domain.entities import Order
from parallax.domain.errors import NotFound
from parallax.domain.identity import OrderId, UserId, is_identifier
from parallax.ports.receipt import build
from parallax.web import format as shown
from parallax.web import views
from parallax.web.site import Site, TheSite

router = APIRouter(include_in_schema=False)


@router.get("/u/{user_id}/orders/{order_id}")
async def order(user_id: str, order_id: str, site: TheSite) -> Response:
    """One order of a user."""
    user = await site.user(user_id)
    at = site.at()
    found = await find(site, user.id, order_id)
    fields = {
        "at": at,
        "live": f"page=order&user={user.id}&order={found.id}",
        "user": user,
        "section": "orders",
        "order": found,
        "panel": await views.order_panel(site, found),
    }
    return site.page("order.html", fields)


@router.get("/u/{user_id}/orders/{order_id}/receipt")
async def receipt(user_id: str, order_id: str, site: TheSite) -> Response:
    """The order's receipt, to keep."""
    user = await site.user(user_id)
    found = await find(site, user.id, order_id)
    document = await build(found.id, await site.desk.order_facts(found.id), site.desk.facts)
    name = f"receipt-{shown.short(found.id)}.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(document, media_type="application/json", headers=headers)


async def find(site: Site, user_id: UserId, order_id: str) -> Order:
    """The order of an address. Raises `NotFound`, also for another user's (rule 6)."""
    if not is_identifier(order_id):
        raise NotFound("order", order_id)
    return await site.desk.order(OrderId(order_id), user_id)
