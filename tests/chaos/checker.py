"""The checker of a chaos run: it trusts only the records of the tasks and the acknowledgements of commands."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

THAW = 1.5  # seconds that a machine may take to end what it ran, once it has thawed
SLACK = 0.02


class Execution(NamedTuple):
    """One execution, as its task wrote it down. Times are monotonic seconds of this machine."""

    installation: int
    job: str
    run: int
    due: str
    token: int
    began: float
    last: float  # the time of its last report
    ended: bool


class Freeze(NamedTuple):
    """An installation stood still, daemon or all of it."""

    installation: int
    began: float
    ended: float


class Acknowledged(NamedTuple):
    """What the command line said was done."""

    what: str  # "add", "rm"
    job: str
    at: float


def executions(logs: Sequence[Path]) -> list[Execution]:
    """All executions, in the order in which they began."""
    found = []
    for installation, log in enumerate(logs):
        current: dict[tuple[str, str, str], Execution] = {}
        for line in log.read_text().splitlines() if log.exists() else ():
            what, job, run, due, attempt, token, moment = line.split()
            key, at = (job, run, attempt), float(moment)
            if what == "began":
                if key in current:
                    found.append(current.pop(key))
                current[key] = Execution(installation, job, int(run), due, int(token), at, at, False)
            else:
                current[key] = current[key]._replace(last=at, ended=what == "ended")
        found += current.values()
    return sorted(found, key=lambda one: one.began)


def judge(
    runs: Sequence[Execution],
    acknowledged: Sequence[Acknowledged],
    freezes: Sequence[Freeze],
    intervals: dict[str, float],
    history: dict[str, list[tuple[str, str]]],
    finished_at: float,
    stepped: bool,
) -> list[str]:
    """What went wrong, in words. `history`: (due time, outcome) of each job's runs, as the command line tells it.

    With `stepped` clocks a due time may come again, or not at all (docs/schedules.md): nothing is said about them.
    """
    by_job: dict[str, list[Execution]] = defaultdict(list)
    for one in runs:
        by_job[one.job].append(one)
    wrong = []
    for job, its in by_job.items():
        wrong += _overlaps(job, its, freezes)
    for job, step in intervals.items() if not stepped else ():
        wrong += _gaps(job, step, by_job[job], finished_at)
    removed = {one.job: one.at for one in acknowledged if one.what == "rm"}
    for said in acknowledged:
        if said.what == "add" and said.job not in removed and not any(run.ended for run in by_job[said.job]):
            wrong.append(f"{said.job} was acknowledged and never ran to its end")
    for job, at in removed.items():
        wrong += [f"{job} began {run.began - at:.2f} s after its removal" for run in by_job[job] if run.began > at + 1]
    for job, outcomes in history.items() if not stepped else ():
        final = [due for due, outcome in outcomes if outcome != "lost"]
        wrong += [f"{job} is finished twice for {due}" for due in {due for due in final if final.count(due) > 1}]
    return wrong


def _overlaps(job: str, runs: Sequence[Execution], freezes: Sequence[Freeze]) -> list[str]:
    wrong: list[str] = []
    going_on: list[Execution] = []
    for later in runs:
        going_on = [earlier for earlier in going_on if earlier.last > later.began + SLACK]
        wrong.extend(
            f"{job} overlaps itself by {earlier.last - later.began:.3f} s: {earlier}, {later}"
            for earlier in going_on
            if not _excused(earlier, later, freezes)
        )
        going_on.append(later)
    return wrong


def _excused(earlier: Execution, later: Execution, freezes: Sequence[Freeze]) -> bool:
    """Whether one of the two was on a machine that was frozen meanwhile, and ended soon after it thawed."""
    return any(
        freeze.installation in (earlier.installation, later.installation)
        and freeze.began <= later.began + 60
        and freeze.ended + THAW >= min(earlier.last, later.last)
        and freeze.ended >= earlier.began
        for freeze in freezes
    )


def _gaps(job: str, step: float, runs: Sequence[Execution], finished_at: float) -> list[str]:
    dues = sorted({datetime.fromisoformat(run.due).timestamp() for run in runs if run.ended})
    if not dues:
        return [f"{job} never ran to its end"]
    wrong = [
        f"{job} was not run for {(later - earlier) / step - 1:.0f} due times after {earlier}"
        for earlier, later in pairwise(dues)
        if abs(later - earlier - step) > step / 10
    ]
    last = max(run.last for run in runs)
    if finished_at - last > 3 * step + 5:
        wrong.append(f"{job} ran last {finished_at - last:.1f} s before the end")
    return wrong
