"""Real daemons under a nemesis, on each kind of database. `python -m tests.chaos.run` does it for longer."""

import os
from pathlib import Path

import pytest

from tests.chaos.run import chaos

SECONDS = float(os.environ.get("JOBD_TEST_CHAOS_SECONDS", "45"))
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(SECONDS + 180)]


@pytest.mark.parametrize(("kind", "clocks"), [("sqlite", False), ("mariadb", False), ("postgresql", True)])
def test_nothing_is_lost_and_nothing_is_run_twice(tmp_path: Path, kind: str, clocks: bool) -> None:
    report = chaos(kind, SECONDS, 1, tmp_path, clocks)
    print(report)
    assert not report.wrong, "\n".join([*report.wrong, "", *report.faults])
    assert report.runs > 3 * SECONDS
    assert len(report.faults) > SECONDS / 10
