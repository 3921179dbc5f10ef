"""`parallax sandbox`: the bundled exchange as a program of its own."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallax.cli import fail


def sandbox(
    *,
    host: Annotated[str, Parameter(help="The address to serve at.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="The port to serve at.")] = 4001,
    api_key: Annotated[str, Parameter(help="The key that calls must carry.")] = "sandbox",
    seed: Annotated[int, Parameter(help="Same seed and same calls give the same answers.")] = 0,
    settle: Annotated[tuple[float, float], Parameter(help="Seconds in which orders settle.")] = (5.0, 10.0),
    fail_share: Annotated[float, Parameter(help="The share of orders that settle as failed.")] = 0.1,
    quotes: Annotated[int, Parameter(help="Quotes to begin with.")] = 0,
    control: Annotated[bool, Parameter(help="Whether faults can be asked for at /_control.")] = True,
) -> None:
    """Serve the sandbox exchange: the real one's wire, with faults on request. See docs/sandbox.md."""
    import asyncio

    from parallax.sandbox import Exchange, InvalidSetting, SandboxSettings, create_app, serve

    def ready(url: str) -> None:
        print(f"Sandbox exchange at {url} (key {api_key}, seed {seed})", flush=True)  # noqa: T201

    try:
        settings = SandboxSettings(settle_seconds=settle, fail_share=fail_share, quotes=quotes)
        app = create_app(Exchange(seed=seed, settings=settings), api_key=api_key, control=control)
        asyncio.run(serve(app, host=host, port=port, ready=ready))
    except InvalidSetting as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"cannot serve the sandbox at {host}:{port}: {error.strerror or error}") from None
