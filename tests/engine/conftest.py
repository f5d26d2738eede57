"""No test leaves its worlds behind: each has descriptors, and select() takes none beyond 1023."""

from collections.abc import Iterator

import pytest

from tests.engine.world import WORLDS


@pytest.fixture(autouse=True)
def _worlds_end() -> Iterator[None]:
    yield
    while WORLDS:
        world = WORLDS.pop()
        world.stop()
        world.store.close()
