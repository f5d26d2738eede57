"""Judges processes: output belongs to its own run, each run finds a restored process, and nothing grows or is left."""

import re
from collections import defaultdict
from collections.abc import Iterator

from tests.combine.case import Attempt, Case
from tests.combine.record import REFUSED

MEMORY = 90 * 1024  # KiB of a daemon
FULL = 100 * 1024  # KiB of a daemon with full buffers while the database is unavailable
DESCRIPTORS = 200
SESSIONS = 2  # sessions that a server may end on a busy machine, because their transactions were idle for seconds
PAUSE = 1.0  # seconds without a run, in which a worker checks thoroughly for changes by earlier runs
TAG = re.compile(r"<([^<>|]+)\|(\d+)\|(\d+)\|(\d+)>")
INTERNAL = ("\x1e",)  # jobd's own markers in the pipe with the output of tasks
OF_AN_IMPORT = "<import|"  # the output of an import that fails
CUT = ("bytes of output before this were cut]", "bytes of output were dropped here")


def _output(case: Case) -> Iterator[str]:
    """The output of each attempt is exactly the lines that it printed, in order."""
    said = {(one.job, one.run, one.number): one for one in case.attempts}
    shown: dict[tuple[str, int, int], str] = defaultdict(str)
    for (job, run), parts in case.record.output.items():
        for attempt, text in parts:
            shown[job, run, attempt] += text
    for key, text in shown.items():
        where = f"attempt {key[2]} of run {key[1]} of {key[0]}"
        for name, run, attempt, line in TAG.findall(text):
            if (case.record.names.get(name, name), int(run), int(attempt)) != key:
                yield f"{where} shows line {line} of attempt {attempt} of run {run} of {name}"
                break
        for mark in (*INTERNAL, OF_AN_IMPORT):
            if mark in text:
                yield f"{where} shows what is not its own: {text[:200]!r}"
    for key, one in said.items():
        if key[:2] in case.finished and not case.disturbed(one.began - 1, one.last + 1):
            its = "".join(text for _, text in case.record.output.get(key[:2], ()))
            yield from _complete(one, shown.get(key, ""), any(word in its for word in CUT))


def _complete(one: Attempt, shown: str, cut: bool) -> Iterator[str]:
    """Check that the stored output of an attempt is complete. `cut`: a notice with its run reports dropped output."""
    numbers = [int(found[3]) for found in TAG.findall(shown)]
    wanted = [*range(one.said)]
    if cut:
        wanted = [number for number in wanted if number in numbers]
    if numbers != wanted and (one.said or one.end is not None):
        where = f"attempt {one.number} of run {one.run} of {one.job}"
        yield f"{where} printed {one.said} lines, its log shows {numbers[:60]}"


def _fresh(case: Case) -> Iterator[str]:
    """The process of a fresh run is used by no other attempt, before or after."""
    for its in case.by_process.values():
        for one in its if len(its) > 1 else ():
            plan = case.plans.get(one.job)
            isolation = plan.option("--isolation") if plan is not None else None
            if isolation in ("fresh", "fork"):
                other = next(other for other in its if other is not one)
                where = f"attempt {one.number} of run {one.run} of {one.job}"
                yield f"{where} ({isolation}) had the process of run {other.run} of {other.job}"
                break


def _left_behind(case: Case) -> Iterator[str]:
    """Changes of a task to its process are undone before the next run, or in the next thorough check."""
    for its in case.by_process.values():
        for number, one in enumerate(its[1:], 1):
            where = f"run {one.run} of {one.job} found what was left by an earlier one"
            if one.begin["state"] != its[0].begin["state"]:
                yield f"{where}: {_differing(one.begin['state'], its[0].begin['state'])}"
                break
            pause = one.began - its[number - 1].last
            now, first = one.begin["thorough_state"], its[0].begin["thorough_state"]
            if pause > PAUSE and now != first:
                yield f"{where}, {pause:.1f} s before: {_differing(now, first)}"
                break


def _differing(one: dict[str, object], first: dict[str, object]) -> str:
    return ", ".join(f"{name} is {value}, was {first[name]}" for name, value in one.items() if value != first[name])


def _versions(case: Case) -> Iterator[str]:
    """A run uses the plugins that were accepted last."""
    for one in case.given("reload"):
        if one.mark == REFUSED and one.code == 0:
            yield "plugins that do not load were accepted"
        # A daemon that does not answer, or is starting, may have loaded the plugins of before.
        if one.mark <= 0 or one.code not in (0, 1) or one.errors.startswith("jobd: error: jobd is running"):
            continue
        by = case.in_effect_by(one.answered)
        for attempt in case.attempts:
            if attempt.begin["node"] == one.node and attempt.began > by and attempt.begin["version"] < one.mark:
                where = f"run {attempt.run} of {attempt.job}"
                yield f"{where} began with version {attempt.begin['version']} of the plugins, not {one.mark}"
                break
    for attempt in case.attempts:
        before = [one for one in case.given("reload") if one.asked < attempt.began]
        asked = [one.mark for one in before if one.node == attempt.begin["node"]]
        if attempt.begin["version"] > max([0, *asked]):
            yield f"run {attempt.run} of {attempt.job} began with plugins that were not accepted"


def _quiet(case: Case) -> Iterator[str]:
    """No bug is logged, no process is left, and a daemon stays small."""
    record = case.record
    for line in record.logs.splitlines():
        if "a bug in jobd" in line or "Traceback" in line or "sent an invalid message" in line:
            yield f"the log says {line[:300]}"
    away = [line for line in record.logs.splitlines() if "retrying until it is back" in line]
    if len(away) > SESSIONS and not case.given("away"):
        yield f"nobody took the database away, and the log says so {len(away)} times: {away[-1][:300]}"
    if record.left:
        yield f"the processes {record.left} outlived their daemon"
    if record.memory > (FULL if case.given("away") else MEMORY):
        yield f"a daemon had {record.memory} KiB"
    if record.descriptors > DESCRIPTORS:
        yield f"a daemon had {record.descriptors} descriptors"


CHECKS = (_output, _fresh, _left_behind, _versions, _quiet)
