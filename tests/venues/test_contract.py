"""The gateway over the exchange's HTTP passes the contract of a venue, against the bundled exchange."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from random import Random

import httpx2
import pytest

from parallax.ports.clock import SystemClock
from parallax.sandbox import ConnectionDropped, Exchange, InProcess, SandboxApp, create_app, running_sandbox
from parallax.venues.exchange_api import ExchangeApi, Timeouts
from parallax.venues.gateway import Gateway, GatewaySettings
from parallax.venues.http import Answer, Head, Transport
from tests.venues.contract import VenueContract, World

KEY = "key"


class SandboxHand:
    def __init__(self, app: SandboxApp) -> None:
        self._calls = InProcess(app)

    async def trouble(self, fault: str, on: str, **params: object) -> None:
        await self._control(fault=fault, on=on, times=1, **params)

    async def settle(self) -> None:
        await self._control(action="settle")

    async def _control(self, **fields: object) -> None:
        answer = await self._calls.call(
            "POST", "/_control", json.dumps(fields).encode(), ((b"x-api-key", KEY.encode()),)
        )
        assert answer.status in (200, 201), answer.body


class InProcessTransport(Transport):
    """The sandbox without sockets."""

    def __init__(self, app: SandboxApp) -> None:
        self._calls = InProcess(app)

    async def send(self, head: Head, body: bytes = b"") -> Answer:
        headers = tuple((name.lower(), value) for name, value in head.headers)
        try:
            answer = await self._calls.call(head.method, head.target, body, headers)
        except ConnectionDropped as error:
            raise httpx2.ReadError(str(error)) from None
        return Answer(answer.status, answer.headers, answer.body)


def sandbox() -> SandboxApp:
    return create_app(Exchange(seed=7, rates=lambda _from, _to: Decimal("54.42")), KEY)


@asynccontextmanager
async def gateway_to(api: ExchangeApi) -> AsyncGenerator[Gateway]:
    gateway = Gateway(api, SystemClock(), Random(1), GatewaySettings())
    try:
        yield gateway
    finally:
        await gateway.close()


QUICK = Timeouts(send=0.5)


class TestOverSockets(VenueContract):
    @pytest.fixture
    async def world(self, free_port: Callable[[], int]) -> AsyncIterator[World]:
        app = sandbox()
        async with (
            running_sandbox(app, port=free_port()) as url,
            gateway_to(ExchangeApi(url, KEY, timeouts=QUICK, name="sandbox")) as gateway,
        ):
            yield World(gateway, SandboxHand(app))


class TestInProcess(VenueContract):
    @pytest.fixture
    async def world(self) -> AsyncIterator[World]:
        app = sandbox()
        api = ExchangeApi("http://exchange/api", KEY, transport=InProcessTransport(app), timeouts=QUICK)
        async with gateway_to(api) as gateway:
            yield World(gateway, SandboxHand(app))
