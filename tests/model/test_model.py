"""Spin searches the whole protocol of claims and leases: its promises hold, and each rule is necessary."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import servers

MODEL = Path(__file__).with_name("claims.pml")
OVERLAP, RESULTS, STRANDED = "orphan)<=1", "accepted[which]", ".buried"  # the promises, as Spin writes them

pytestmark = [
    pytest.mark.model,
    pytest.mark.timeout(600),
]


@pytest.fixture(autouse=True)
def tools() -> None:
    """Spin makes a C program of the model."""
    if not (shutil.which("spin") and shutil.which("gcc")):
        servers.missing("Spin", "apt-get install spin gcc libc6-dev")


@pytest.mark.parametrize("variant", ["", "-DFREEZE -DONLY_RESULTS -DL=3"])
def test_the_protocol_keeps_its_promises_in_every_reachable_state(variant: str, tmp_path: Path) -> None:
    assert violated(variant, tmp_path) is None


@pytest.mark.parametrize(
    ("variant", "promise"),
    [
        ("UNFENCED", RESULTS),
        ("OWNER_NAME", RESULTS),
        ("NO_SELF_KILL", OVERLAP),
        ("DEADLINE_AT_REPLY", OVERLAP),
        ("NO_MARGIN", OVERLAP),
        ("ORPHAN", OVERLAP),
        ("LOCK_OF_DAEMON", OVERLAP),
        ("LOCK_HELD", OVERLAP),
        ("FREEZE", OVERLAP),
        ("TIMESTAMP_LEASE", OVERLAP),
        ("UNCONDITIONAL_CLAIM", OVERLAP),
        ("SEEN_AT_REQUEST", OVERLAP),
        ("LATE_CLAIM", OVERLAP),
        ("GIVE_BACK_EARLY", OVERLAP),
        ("CLAIM_UNBEATEN", STRANDED),
    ],
)
def test_without_any_one_of_its_rules_it_breaks_a_promise(variant: str, promise: str, tmp_path: Path) -> None:
    assert promise in (violated(f"-D{variant}", tmp_path) or "")


@pytest.mark.parametrize(
    ("goal", "denied"),
    [("REACH_TAKE_OVER", "took_over"), ("REACH_LAST_RUN", ".due<"), ("REACH_LONG_RUN", ".ran<")],
)
def test_its_promises_are_not_kept_by_doing_nothing(goal: str, denied: str, tmp_path: Path) -> None:
    assert denied in (violated(f"-D{goal}", tmp_path) or "")


def violated(macros: str, folder: Path) -> str | None:
    """The first assertion that can fail; None: none can, and all there is has been searched."""
    run("spin", "-a", *macros.split(), str(MODEL), folder=folder)
    # Breadth first: no depth to run out of, and the shortest way to a violation.
    run("gcc", "-O2", "-w", "-DSAFETY", "-DBFS", "-DMEMLIM=1900", "-o", "pan", "pan.c", folder=folder)
    report = run("./pan", folder=folder)
    assert "out of memory" not in report, report
    assert "max search depth too small" not in report, report
    failed = re.search(r"assertion violated (.*) \(at depth", report)
    if failed is not None:
        return failed[1]
    assert "Search not completed" not in report, report
    assert "errors: 0" in report, report
    return None


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
