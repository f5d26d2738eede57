"""Installations with the tasks of helpers.py."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.helpers import FAST, PLUGIN
from tests.installation import Installation


@pytest.fixture
def make_installation(tmp_path: Path) -> Iterator[Callable[[str], Installation]]:
    """Makes installations; those of one database share the work."""
    installations: list[Installation] = []

    def make(database: str = "sqlite:///jobd.db", more: str = FAST, workers: int = 1) -> Installation:
        installation = Installation(tmp_path / f"house{len(installations)}", database, PLUGIN)
        installation.configure("", workers, more)
        installations.append(installation)
        return installation

    yield make
    for installation in installations:
        installation.close()


@pytest.fixture
def installation(make_installation: Callable[[], Installation]) -> Installation:
    return make_installation()
