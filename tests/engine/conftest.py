"""Each test closes its harnesses, because they have descriptors and select() accepts none beyond 1023."""

from collections.abc import Iterator

import pytest

from tests.engine.harness import HARNESSES


@pytest.fixture(autouse=True)
def _harnesses_end() -> Iterator[None]:
    yield
    while HARNESSES:
        harness = HARNESSES.pop()
        harness.stop()
        harness.store.close()
