"""Houses with the tasks of the scene in them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.scene import FAST, PLUGIN
from tests.house import House


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[[str], House]]:
    """Makes houses; those of one database share the work."""
    houses: list[House] = []

    def make(database: str = "sqlite:///jobd.db", more: str = FAST, workers: int = 1) -> House:
        house = House(tmp_path / f"house{len(houses)}", database, PLUGIN)
        house.configure("", workers, more)
        houses.append(house)
        return house

    yield make
    for house in houses:
        house.close()


@pytest.fixture
def house(make_house: Callable[[], House]) -> House:
    return make_house()
