"""Real daemons under faults, on each kind of database. `python -m tests.chaos.run` does it for longer."""

import os
from pathlib import Path

import pytest

from tests.chaos.run import chaos

SECONDS = float(os.environ.get("JOBD_TEST_CHAOS_SECONDS", "45"))
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(SECONDS + 180)]


# Where clocks are stepped, gaps and due times that come again cannot be told from faults: so once without.
CASES = [("sqlite", False, 1.0), ("mariadb", False, 1.0), ("postgresql", False, 0.5), ("postgresql", True, 0.5)]


@pytest.mark.parametrize(("kind", "clocks", "share"), CASES)
def test_nothing_is_lost_and_nothing_is_run_twice(tmp_path: Path, kind: str, clocks: bool, share: float) -> None:
    seconds = SECONDS * share
    report = chaos(kind, seconds, 1, tmp_path, clocks)
    print(report)
    assert not report.wrong, "\n".join([*report.wrong, "", *report.faults])
    assert report.runs > 3 * seconds
    assert len(report.faults) > seconds / 10
