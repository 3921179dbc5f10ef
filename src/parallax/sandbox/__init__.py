"""The bundled exchange: the wire Parallax talks to, with faults on request. A program of its own.

    app = create_app(Exchange(seed=7), api_key="sandbox")
    async with running_sandbox(app) as url:      # over HTTP, in this event loop
        ...

`Exchange` is the exchange without I/O, `KeptExchange` one that remembers in a file, `create_app` puts either
behind HTTP, `serve` and `running_sandbox` put that on a socket, `InProcess` calls it without one. See
`docs/sandbox.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parallax.sandbox.app import SandboxApp, create_app
from parallax.sandbox.call import KINDS, ConnectionDropped
from parallax.sandbox.exchange import Exchange, utc_now
from parallax.sandbox.faults import FAULTS
from parallax.sandbox.inprocess import InProcess, RawAnswer
from parallax.sandbox.model import USER_FIXTURES, Order, OrderRequest, Quote, User
from parallax.sandbox.rates import RateSource, ecb_rates
from parallax.sandbox.refusals import REFUSAL_SHAPES, Refusal
from parallax.sandbox.settings import InvalidSetting, SandboxSettings
from parallax.sandbox.state import KeptExchange, StateUnusable

if TYPE_CHECKING:
    from parallax.sandbox.serving import base_url, bind, running_sandbox, serve

__all__ = [
    "FAULTS",
    "KINDS",
    "REFUSAL_SHAPES",
    "USER_FIXTURES",
    "ConnectionDropped",
    "Exchange",
    "InProcess",
    "InvalidSetting",
    "KeptExchange",
    "Order",
    "OrderRequest",
    "Quote",
    "RateSource",
    "RawAnswer",
    "Refusal",
    "SandboxApp",
    "SandboxSettings",
    "StateUnusable",
    "User",
    "base_url",
    "bind",
    "create_app",
    "ecb_rates",
    "running_sandbox",
    "serve",
    "utc_now",
]

_SERVING = ("base_url", "bind", "running_sandbox", "serve")


def __getattr__(name: str) -> Any:
    # The server library is loaded only by who serves: a simulation never pays for it.
    if name in _SERVING:
        from parallax.sandbox import serving

        return getattr(serving, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
