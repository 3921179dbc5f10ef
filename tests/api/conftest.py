"""A desk behind its API, ready for calls."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.api.support import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A started desk on a sandbox of its own."""
    world = World()
    await world.open()
    yield world
    await world.close()
