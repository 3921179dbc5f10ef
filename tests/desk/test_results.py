"""What an order's amount comes to, before it is sent."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from parallax.domain.errors import AmountInvalid
from parallax.domain.money import Rate, currency, parse_amount
from parallax.ports.venue import VenueQuote
from tests.desk.conftest import World
from tests.desk.scripted import ONE

Play = Callable[[Any], Any]


def test_an_amount_that_buys_nothing_is_refused_before_anything_is_claimed(play: Play) -> None:
    """0.01 PHP at 0.0001 is 0.00 USD. The quote stays free for an amount that buys something."""

    async def scenario(world: World) -> None:
        desk = await world.desk()
        given = world.venue.quote()
        rate = Rate(Decimal("0.0001"), currency("PHP"), currency("USD"))
        quote = VenueQuote(given.id, rate, given.created_at)
        world.venue.quote_list[:] = [quote]
        await desk.refresh("quotes")
        with pytest.raises(AmountInvalid, match="nothing") as refused:
            await desk.execute(quote.id, ONE, parse_amount("0.01", currency("PHP")), "page")
        assert refused.value.code == "amount_invalid"
        assert world.venue.sent == []
        order = await desk.execute(quote.id, ONE, parse_amount("50", currency("PHP")), "page")
        assert str(order.result) == "0.01 USD"
        await desk.stop()

    play(scenario)


@pytest.mark.parametrize("code", ["XAU", "XAG", "XDR"])
def test_without_a_minor_unit_nothing_is_rounded_away(code: str) -> None:
    rate = Rate(Decimal("0.00025"), currency("USD"), currency(code))
    assert rate.convert(parse_amount("100.00", currency("USD"))).amount == Decimal("0.025")
    back = Rate(Decimal("4000.00"), currency(code), currency("USD"))
    assert str(back.convert(parse_amount("0.5", currency(code)))) == "2000.00 USD"
