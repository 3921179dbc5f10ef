"""Real processes on 127.0.0.1, for one test each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest_asyncio

from tests.processes.support import Programs, running


@pytest_asyncio.fixture
async def programs(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[Programs]:
    """Starts programs, and ends them after the test."""
    async with running(tmp_path, free_port) as programs:
        yield programs
