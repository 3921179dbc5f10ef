"""`parallax sandbox`: the bundled exchange as a program of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallax.cli import fail, say


def sandbox(
    *,
    host: Annotated[str, Parameter(help="The address to serve at.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="The port to serve at.")] = 4001,
    api_key: Annotated[str, Parameter(help="The key that calls must carry.")] = "sandbox",
    seed: Annotated[int, Parameter(help="Same seed and same calls give the same answers.")] = 0,
    state: Annotated[Path | None, Parameter(help="A file to remember everything in, over restarts.")] = None,
    settle: Annotated[tuple[float, float], Parameter(help="Seconds in which orders settle.")] = (5.0, 10.0),
    fail_share: Annotated[float, Parameter(help="The share of orders that settle as failed.")] = 0.1,
    quotes: Annotated[int, Parameter(help="Quotes to begin with.")] = 0,
    control: Annotated[bool, Parameter(help="Whether faults can be asked for at /_control.")] = True,
) -> None:
    """Serve the sandbox exchange: the real one's wire, with faults on request. See docs/sandbox.md."""
    import asyncio
    from contextlib import ExitStack, closing

    import uvloop

    from parallax.sandbox import (
        Exchange,
        InvalidSetting,
        KeptExchange,
        SandboxSettings,
        StateUnusable,
        bind,
        create_app,
        serve,
    )

    if not api_key:
        raise fail("--api-key must not be empty")
    if not 1 <= port <= 65535:
        raise fail(f"--port {port} is no port: it must be from 1 to 65535")

    def ready(url: str) -> None:
        kept = f", remembering in {state}" if state else ""
        say(f"Sandbox exchange at {url} (key {api_key}, seed {seed}{kept})")

    with ExitStack() as stack:
        try:
            settings = SandboxSettings(settle_seconds=settle, fail_share=fail_share, quotes=quotes)
            listening = stack.enter_context(closing(bind(host, port)))
            exchange = (
                stack.enter_context(closing(KeptExchange(state, seed=seed, settings=settings)))
                if state
                else Exchange(seed=seed, settings=settings)
            )
        except (InvalidSetting, StateUnusable) as error:
            raise fail(str(error)) from None
        except OSError as error:
            raise fail(f"cannot serve the sandbox at {host}:{port}: {error.strerror or error}") from None
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        app = create_app(exchange, api_key=api_key, control=control)
        runner.run(serve(app, sock=listening, ready=ready))
