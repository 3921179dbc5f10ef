"""A receipt proves its order's story to anyone, and nothing can be changed in it unnoticed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from parallax.domain.transitions import OrderState
from parallax.ports import receipt
from parallax.ports.receipt import ReceiptInvalid, build, verify
from tests.desk.scripted import ONE
from tests.web.conftest import Browser, Play


def settled_receipt(surf: Play) -> bytes:
    """The receipt of an order that was completed on a desk with other things going on."""

    async def scenario(browser: Browser) -> bytes:
        order = await browser.order(await browser.quote())
        for _ in range(3):
            await browser.quote()
        await asyncio.sleep(1)
        browser.venue.settle(browser.quote_of(order))
        await asyncio.sleep(20)
        return (await browser.get(f"/u/{ONE}/orders/{order}/receipt")).content

    return surf(scenario)


def test_a_receipt_verifies_offline_over_the_facts_of_others_between(surf: Play) -> None:
    document = settled_receipt(surf)
    verified = verify(document)
    assert verified.state is OrderState.COMPLETED
    assert verified.parts == 1
    assert verified.last_position - verified.first_position + 1 > len(verified.facts)
    assert b"UserListed" not in document, "others' facts are there by their digests alone"


def _change(field: str, value: object, at: int = 1) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["facts"][at][field] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _change("record", '["OrderSent",{}]'),
        _change("hash", "00" * 32),
        _change("hash", "nonsense"),
        _change("hash", None),
        _change("position", 1),
        _change("position", "2"),
        _change("position", 10**6),
        lambda document: document["facts"].pop(1),
        lambda document: document["facts"].reverse(),
        lambda document: document["facts"].clear(),
        lambda document: document["facts"].append({}),
        lambda document: document["facts"].append(None),
        lambda document: document["facts"][0].pop("hash_before"),
        lambda document: document["facts"][-1]["digests_before"].pop(),
        lambda document: document["facts"][-1].update(digests_before=5),
        lambda document: document["facts"][0].update(
            record=document["facts"][0]["record"].replace('"100"', '"101"')
        ),
        lambda document: document.update(order_id="another"),
        lambda document: document.update(format="something else"),
        lambda document: document.update(facts=None),
    ],
)
def test_a_receipt_that_was_changed_does_not_verify(
    surf: Play, change: Callable[[dict[str, Any]], None]
) -> None:
    document = json.loads(settled_receipt(surf))
    change(document)
    with pytest.raises(ReceiptInvalid):
        verify(json.dumps(document).encode())


@pytest.mark.parametrize("document", [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b"7"])
def test_what_is_no_receipt_is_said_to_be_none(document: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        verify(document)


def test_a_document_beyond_the_bound_is_not_read() -> None:
    with pytest.raises(ReceiptInvalid, match="at most"):
        verify(b" " * (receipt.MAX_RECEIPT + 1))


@pytest.mark.parametrize("bound", ["MAX_GAP", "MAX_DIGESTS"])
def test_where_too_much_lies_between_the_receipt_has_parts_and_says_so(
    surf: Play, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(receipt, bound, 0)
    verified = verify(settled_receipt(surf))
    assert verified.parts > 1
    assert verified.state is OrderState.COMPLETED


def test_an_order_without_facts_has_no_receipt(surf: Play) -> None:
    async def scenario(browser: Browser) -> None:
        with pytest.raises(ValueError, match="without facts"):
            await build(receipt.OrderId("none"), [], browser.desk.facts)

    surf(scenario)
