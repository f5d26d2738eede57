"""Known faults of jobd, to be planted one at a time: those of the issue that led to this suite, with its numbers.

Each is a piece of the code and its replacement. One fault of the issue cannot be planted: counts of missed due times
that stop at 10,000 (13.13), because no play is long enough for so many.
"""

from typing import NamedTuple


class Edit(NamedTuple):
    """A file of jobd, a text that occurs in it once, and its replacement."""

    file: str
    before: str
    after: str = ""


class Fault(NamedTuple):
    """A fault: the checks that find it, the situations in which it shows, and the database, if only one shows it."""

    checks: tuple[str, ...]
    situations: tuple[str, ...]
    edits: tuple[Edit, ...]
    database: str = ""


ASKED = "return current if current.manual and current.ready is not None else current._replace(ready=None)"
KEPT_REQUEST = (
    "    if current.manual and current.ready is not None:\n"
    "        return current._replace(fingerprint=fingerprint, anchor=first, resume=first)\n"
)
FINISH_ENDED = "        self._finish_ended()  # an attempt that has just ended is followed by no other\n"
CANCEL = "            self._cancel.add(change.job_id)\n"
WAITS_FOR_RETRY = "(state.attempt or state.losses) and state.due is not None:"
TIMERS = "        signal.setitimer(signal.ITIMER_VIRTUAL, 0)\n        signal.setitimer(signal.ITIMER_PROF, 0)\n"
ALARM = "        signal.alarm(0)  # the same timer as ITIMER_REAL\n"
FIRSTS = "(first_ready(session, pool, excluded=excluded) if firsts is None else firsts).items()"
MET = 'session.execute("UPDATE job_dependency SET met = 1 WHERE job_id = ? AND on_job_id = ?", pair)'
MET_AT_WORK = (
    'session.execute("UPDATE job_dependency SET met = 1 WHERE job_id = ? AND on_job_id = ?"'
    ' " AND job_id IN (SELECT id FROM job WHERE is_delete = 0)"'
    ' " AND job_id NOT IN (SELECT job_id FROM job_options WHERE paused <> 0)", pair)'
)
ZONE = "        if found or self.settings.timezone:\n            return found or self.settings.timezone\n"
COPY = 'copy = _absolute(given["--copy"]) if "--copy" in given else None'
UP_TO_MARK = "            return self._deliver(self._up_to(end_mark(done.secret)))\n"
ALL_READ = "            self._read(self.child.unread())\n            return self._deliver(self._split.rest())\n"

FAULTS = {
    "13.1 a resumed request stays manual at the regular due time": Fault(
        ("due_times",),
        ("busy",),
        (Edit("lifecycle.py", ASKED, "return current._replace(ready=None)"),),
    ),
    "13.2 a run that is given up leaves its number to the next": Fault(
        ("once_each",),
        ("stubborn",),
        (Edit("lifecycle.py", "number = current.number + (current.attempt > 0)", "number = current.number"),),
    ),
    "13.3 a fresh run begins in a used process": Fault(
        ("fresh",),
        ("dirty", "mixed"),
        (
            Edit("engine/orders.py", " or (runs and needs_fresh(claim)))", ")"),
            Edit("engine/worker_pool.py", "return self.unused()", "return self.idle()"),
        ),
    ),
    "13.3 the process of a fresh run goes on": Fault(
        ("fresh",),
        ("dirty", "mixed"),
        (
            Edit(
                "engine/processor.py",
                "            or worker.runs >= MAX_RUNS\n            or needs_fresh(execution.claim)\n",
            ),
        ),
    ),
    "13.4 between attempts nothing is looked at": Fault(
        ("in_force", "out_of_service"),
        ("stubborn",),
        (Edit("engine/processor.py", "if self.draining or claim.job.id in self._recalled:", "if self.draining:"),),
    ),
    "13.5 a cancel at the end of an attempt is lost": Fault(
        ("cancelled",),
        ("stubborn",),
        (
            Edit("engine/processor.py", FINISH_ENDED),
            Edit("engine/changes.py", CANCEL, f"{CANCEL}            self._done.append(change.id)\n"),
        ),
    ),
    "13.5 a run that waits for its next attempt cannot be cancelled": Fault(
        ("cancelled",),
        ("stubborn",),
        (Edit("engine/changes.py", WAITS_FOR_RETRY, "state.losses and state.due is not None:"),),
    ),
    "13.6 a request is dropped with the old schedule": Fault(
        ("requests",),
        ("busy",),
        (Edit("lifecycle.py", KEPT_REQUEST),),
    ),
    "13.7 signal handlers stay": Fault(
        ("left_behind",),
        ("dirty",),
        (Edit("runner/kernel.py", "if [*map(_handler, _SIGNALS)] != self._handlers:", "if False:"),),
    ),
    "13.7 O_NONBLOCK stays": Fault(
        ("left_behind", "output"),
        ("dirty",),
        (Edit("runner/kernel.py", "if fcntl.fcntl(1, fcntl.F_GETFL) != self._flags:", "if False:"),),
    ),
    "13.7 interval timers stay": Fault(
        ("left_behind",),
        ("dirty",),
        (Edit("runner/kernel.py", TIMERS), Edit("runner/kernel.py", ALARM)),
    ),
    "13.7 descriptor 0 stays": Fault(
        ("left_behind",),
        ("dirty",),
        (Edit("runner/kernel.py", "if _file(0) != self._input:", "if False:"),),
    ),
    "13.8 what is printed while the database is away is kept without bound": Fault(
        ("quiet",),
        ("flood",),
        (
            Edit("engine/budget.py", "LIMIT = 32 * 2**20", "LIMIT = 2**40"),
            Edit("engine/budget.py", "MAX_RUN_WAITING = 2**20", "MAX_RUN_WAITING = 2**40"),
        ),
    ),
    "13.9 priority counts only within one claim": Fault(
        ("priorities",),
        ("urgent",),
        (
            Edit("store/schedule_table.py", f"{FIRSTS}:", f"[*{FIRSTS}][::-1]:"),
            Edit("engine/cycle.py", "if priority > capacity.priority}", "if priority > capacity.priority + 1000}"),
        ),
    ),
    "13.10 a worker that begins later has what lies in the folder": Fault(
        ("versions",),
        ("mixed",),
        (Edit("runner/__main__.py", COPY, "copy = None"),),
    ),
    "13.11 statements are prepared": Fault(
        ("quiet", "answers", "play"),
        ("mixed",),
        (Edit("store/postgresql/dialect.py", "prepare_threshold=None", "prepare_threshold=5"),),
        "pgbouncer",
    ),
    "13.12 what a failed import prints is kept with a run": Fault(
        ("output",),
        ("odd",),
        (Edit("engine/processor.py", "execution.retracted_parts())", "execution.next_parts())"),),
    ),
    "13.13 more is caught up than said": Fault(
        ("grid",),
        ("behind",),
        (
            Edit(
                "lifecycle.py",
                "schedule.newest(due, now, anchor, MAX_CATCH_UP)",
                "schedule.newest(due, now, anchor, MAX_CATCH_UP + 36)",
            ),
        ),
    ),
    "13.14 run --wait waits for a job that was removed": Fault(
        ("waits",),
        ("odd", "busy"),
        (Edit("cli/waiting.py", "if self._clock.monotonic() >= check_at:", "if False:"),),
    ),
    "13.15 due times go beyond the calendar": Fault(
        ("answers",),
        ("odd",),
        (Edit("schedule/base.py", "return due if due <= LATEST else None", "return due"),),
    ),
    "13.16 a job that rests never hears of what it runs after": Fault(
        ("after_others",),
        ("after",),
        (Edit("store/dependencies.py", MET, MET_AT_WORK),),
    ),
    "13.17 the first due time follows the shell's zone": Fault(
        ("zones",),
        ("odd",),
        (Edit("cli/context.py", ZONE),),
    ),
    "13.18 a real-time signal has no name": Fault(
        ("programs", "quiet"),
        ("odd",),
        (Edit("exits.py", "    except ValueError:\n", "    except KeyError:\n"),),
    ),
    "13.18 an error text that does not fit costs the worker": Fault(
        ("programs", "quiet"),
        ("odd",),
        (
            Edit("runner/worker.py", "return shown if len(shown) <= MAX_WORD else", "return 20 * shown if shown else"),
            Edit("runner/worker.py", "str(failure)[:MAX_ERROR]", "str(failure)"),
        ),
    ),
    "13.19 the clock of another node puts this one's back": Fault(
        ("due_times", "grid"),
        ("odd",),
        (Edit("store/schedule_table.py", "AND node.instance = ?", "AND node.instance <> ?"),),
        "postgresql",
    ),
    "a run's output is kept with another run": Fault(
        ("output",),
        ("short", "mixed"),
        (Edit("engine/worker.py", UP_TO_MARK, ALL_READ),),
    ),
}
