"""The table of the options of a job.

From it come the columns of `job_options`, the keys of job files, of JSON and of [defaults] in jobd.toml, and most flags
of `add` and `set`. Its order is that of the fields of `jobd.job.Options`, and of the keys in JSON and in job files. To
add an option, add a row here and a field there, with the same name (docs/architecture.md has the other places). The
next step of the schema creates its column.
"""

from typing import NamedTuple

from jobd.option_kinds import (
    Arguments,
    Choice,
    Count,
    Dates,
    Dependencies,
    Duration,
    Flag,
    Kind,
    Moment,
    Program,
    Text,
    Texts,
)

MAX_PRIORITY = 100  # the lowest is -100


class Option(NamedTuple):
    """An option of a job.

    `since`: the version of the schema that has its column. `flag`: its option on the command line, with the `metavar`
    and the `help` there; None if it has none, or one with its own rules, which jobd.cli.options writes out.
    `default_key`: whether it may stand in [defaults] of jobd.toml; only an option that is None if it is not set can.
    """

    name: str
    kind: Kind
    since: int
    flag: str | None = None
    metavar: str | None = None
    help: str = ""
    default_key: bool = False


OPTION_TABLE = (
    Option("task", Text("the task name", 255), 1),
    Option("timezone", Text("the time zone", 64), 1, "--tz", "ZONE", "The time zone of the schedule: Europe/Berlin."),
    Option(
        "catch_up",
        Choice("once", "none", "all"),
        1,
        "--catch-up",
        help="Run missed due times once, not at all, or all of them.",
        default_key=True,
    ),
    Option("pool", Text("the pool name", 64), 1, "--pool", "POOL", "The pool of workers to run in. Default: default."),
    Option(
        "on_lost",
        Choice("rerun", "fail"),
        1,
        "--on-lost",
        help="Rerun or fail a run whose node has died.",
        default_key=True,
    ),
    Option(
        "isolation",
        Choice("warm", "fork", "fresh"),
        1,
        "--isolation",
        help="warm: a process kept for many runs; fork: a child of it; fresh: a new process.",
        default_key=True,
    ),
    Option(
        "instead",
        Choice("skip", "next"),
        2,
        "--instead",
        help="Skip the dates of --skip-dates, or move their due times to the next working day. Default: skip.",
    ),
    Option("command", Program(), 1),
    Option("args", Arguments(), 1),
    Option("secrets", Texts(), 1),
    Option(
        "timeout",
        Duration(none=True),
        1,
        "--timeout",
        "D",
        "End an attempt that takes longer than D; none: no limit.",
        default_key=True,
    ),
    Option(
        "backoff",
        Duration(none=True),
        1,
        "--backoff",
        "D",
        "Wait D before the first retry; the wait doubles each time.",
        default_key=True,
    ),
    Option("backoff_max", Duration(), 1, "--backoff-max", "D", "The longest wait before a retry.", default_key=True),
    Option("grace", Duration(), 1, "--grace", "D", "Skip a due time that is more than D late.", True),
    Option(
        "jitter",
        Duration(),
        2,
        "--jitter",
        "D",
        "Delay every due time by a fixed amount between 0 and D, derived from the job's name.",
    ),
    Option("starts", Moment(), 2, "--start", "TIME", "Nothing is due before TIME."),
    Option("ends", Moment(), 2, "--end", "TIME", "Nothing is due after TIME."),
    Option(
        "skip_dates",
        Dates(),
        2,
        "--skip-dates",
        "FILE",
        "Skip the dates in FILE (one per line) or in [calendar.NAME] of jobd.toml.",
    ),
    Option("after_jobs", Dependencies(), 2),
    Option(
        "priority",
        Count(-MAX_PRIORITY, MAX_PRIORITY),
        1,
        "--priority",
        "N",
        f"From -{MAX_PRIORITY} to {MAX_PRIORITY}: of the due jobs of a pool, those with the highest N start first.",
    ),
    Option("paused", Flag(), 1),
)
BY_NAME = {option.name: option for option in OPTION_TABLE}
WITH_FLAG = tuple(option for option in OPTION_TABLE if option.flag is not None)
