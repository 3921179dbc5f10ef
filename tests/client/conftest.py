"""A desk and its exchange for the tests of one module."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.client.running import Running, running


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Running]:
    """A desk that runs while the module's tests do."""
    with running(tmp_path_factory.mktemp("desk"), free_port) as started:
        yield started
