"""Jobs, their states and their runs as immutable values, with the checks of each value. No clock, no database, no I/O.

A `Job` is the definition: the nine columns of the table `job` and its `Options`. A `JobState` is its current position,
a row of the table `schedule`. A `Run` is one finished execution, a row of the table `run`.
"""

from collections.abc import Iterable, Mapping
from itertools import compress
from operator import ne
from typing import Any, NamedTuple

from jobd.dependency import Dependency
from jobd.errors import BadValue
from jobd.option_kinds import short
from jobd.options import OPTION_TABLE, Option

LOWEST_ID, MAX_BIGINT = -(2**63), 2**63 - 1
MAX_COUNTER = 2**62  # of tokens, run numbers and attempts; a value edited beyond it, or below 0, restarts
MAX_NAME = 255  # characters: the width of the columns `name` and `task`
MAX_RETRIES = MAX_BIGINT
MAX_STATE_ERROR = 500  # characters: the width of the column `error` of `schedule`
DEFAULT_POOL = "default"

SUCCEEDED, FAILED, TIMED_OUT, LOST, CANCELLED, SKIPPED, SUPERSEDED = OUTCOMES = (
    "succeeded",
    "failed",
    "timed_out",
    "lost",
    "cancelled",
    "skipped",
    "superseded",
)


class Options(NamedTuple):
    """The options of a job, beside the columns of `job`. Times and durations are µs. jobd.options has their table.

    `None`: not set. `[defaults]` in jobd.toml and the built-in values fill in some of these (jobd.definition).
    """

    task: str | None = None  # None: the task has the job's name
    timezone: str | None = None
    catch_up: str | None = None
    pool: str | None = None
    on_lost: str | None = None
    isolation: str | None = None
    instead: str | None = None  # for due times on `skip_dates`: "skip" them, or move them to the "next" working day
    command: tuple[str, ...] | None = None  # run this program instead of a task
    args: Mapping[str, Any] = {}  # keyword arguments of the task, JSON values
    secrets: tuple[str, ...] = ()  # names of arguments whose values are never shown
    timeout: int | None = None  # 0: no limit
    backoff: int | None = None
    backoff_max: int | None = None
    grace: int | None = None
    jitter: int | None = None  # limit of the fixed delay of each due time, which is derived from the job's name
    starts: int | None = None  # nothing is due before this moment
    ends: int | None = None  # nor after this one
    skip_dates: tuple[str, ...] = ()  # days on which the job does not run (see jobd.schedule.days)
    after_jobs: tuple[Dependency, ...] = ()  # due when these jobs have run
    priority: int = 0  # ready jobs of a pool with a higher priority start first
    paused: bool = False


PLAIN = Options()  # the options of a job that sets none


class Job(NamedTuple):
    """A definition. Times are µs since 1970 UTC (see jobd.clock); `id` is 0 before the job is stored."""

    name: str
    interval: str | None = None
    runonce: bool = False
    retry_times: int = 0
    options: Options = PLAIN
    id: int = 0
    created: int = 0
    updated: int = 0
    last_finished: int | None = None
    deleted: bool = False

    @property
    def task(self) -> str:
        """The name of the task that this job runs."""
        return self.options.task or self.name

    @property
    def has_schedule(self) -> bool:
        """Whether the definition says when the job is to run."""
        return self.interval is not None or self.runonce or bool(self.options.after_jobs)

    @property
    def fingerprint(self) -> str:
        """All parts of the definition on which the due times depend, except the time zone.

        The fingerprint of a job state also names the zone, if the due times follow one: see jobd.fingerprint.
        """
        options = self.options
        bounds = (options.jitter, options.starts, options.ends)
        more = "" if bounds == (None, None, None) else f"|{bounds}"
        if options.skip_dates:
            from zlib import crc32  # imported here because few jobs need it

            more += f"|{options.instead}{crc32(repr(options.skip_dates).encode())}"
        more += f"|after {','.join(one.key for one in options.after_jobs)}"[:200] if options.after_jobs else ""
        return f"{int(self.runonce)}||{self.interval or ''}{more}"


class JobState(NamedTuple):
    """The current position of a job: its row of the table `schedule`. Times are µs; `node` 0 means unclaimed.

    `due` is the current due time, and `ready` the moment from which the job may be claimed: later than `due` during a
    back-off, `None` if the job is paused, done or invalid. `resume` is the scheduled due time to return to after a
    requested run. `number` is the number of the current run. `guarded` delays a run until its start is committed; it
    is set for `on_lost = "fail"` and after a loss, or a claim that ended without a known start.
    """

    job_id: int
    due: int | None = None
    ready: int | None = None
    attempt: int = 0  # finished attempts of the current run
    losses: int = 0  # times that the current run was lost with its node
    number: int = 1
    anchor: int | None = None  # the first due time, to which an interval is aligned
    resume: int | None = None
    manual: bool = False  # a user requested the current run
    pool: str = DEFAULT_POOL
    missed: int = 0  # due times without a run, since the job was added
    fingerprint: str = ""  # the definition and zone from which the due times were computed
    error: str | None = None  # why it cannot run
    guarded: bool = False  # it starts only after its start has been committed
    node: int = 0
    token: int = 0  # fencing token: grows by one with each claim
    started: int | None = None  # the start of the current run, if it is known to be running
    priority: int = 0  # ready jobs of a pool with a higher priority are claimed first


class Run(NamedTuple):
    """One finished execution of a job for one due time. Times are µs."""

    job_id: int
    number: int
    due: int
    started: int | None
    finished: int
    attempts: int
    outcome: str
    node: int
    error: str | None = None
    result: str | None = None  # JSON
    missed: int = 0  # other due times missed together with this one


def without_zone(fingerprint: str) -> str:
    """The fingerprint of a job state without the zone: comparable with that of its job."""
    runonce, _, rest = fingerprint.partition("|")
    return f"{runonce}||{rest.partition('|')[2]}"


def zone_of(fingerprint: str) -> tuple[str, bool]:
    """The zone in a fingerprint ("": none), and whether the job names that zone itself."""
    zone = fingerprint.partition("|")[2].partition("|")[0]
    return zone.removeprefix("="), zone.startswith("=")


def check_name(name: str) -> str:
    """The job name in the form in which it is stored (NFC).

    Raises BadValue if it is empty, longer than 255 characters, begins with `-`, has a blank at either end, or contains
    a control, format, surrogate, private-use, unassigned or line character: such a name is hard to type, show or log.
    """
    plain = name.isascii() and name.isprintable()
    if not plain:
        from unicodedata import normalize

        name = normalize("NFC", name)
    if not name:
        raise BadValue("the job name is empty")
    if len(name) > MAX_NAME:
        raise BadValue(f"the job name has {len(name)} characters", f"use at most {MAX_NAME}")
    if not plain:
        _check_characters(name)
    if name[0].isspace() or name[-1].isspace():
        raise BadValue(f"the job name {name!r} has a blank at its end or beginning", "remove it")
    if name[0] == "-":
        raise BadValue(f"the job name {name!r} begins with '-'", "it would be read as an option")
    return name


def _check_characters(name: str) -> None:
    from unicodedata import category

    for position, char in enumerate(name, 1):
        if category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            raise BadValue(
                f"the job name {ascii(name)[:80]} holds the character U+{ord(char):04X} at position {position}",
                "control, format and line characters are not allowed in names",
            )


def check_retry_times(value: object) -> int:
    """The number of retries. Raises BadValue unless it is a whole number from 0 to 2^63-1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadValue(f"retry_times is {short(value)}", "give a whole number, 0 or more")
    if not 0 <= value <= MAX_RETRIES:
        raise BadValue(f"retry_times is {value}", f"give a whole number from 0 to {MAX_RETRIES}")
    return value


def options_set(options: Options) -> Iterable[tuple[Option, Any]]:
    """The options that are set, with their values."""
    return compress(zip(OPTION_TABLE, options, strict=True), map(ne, options, PLAIN))  # quick: most are not set


def check_options(options: Options) -> Options:
    """`options`, if every value is allowed. Raises BadValue otherwise. The time zone is not looked up."""
    if options == PLAIN:
        return options
    for option, value in options_set(options):
        option.kind.check(option.name, value)
    if options.task is not None and not options.task.strip():
        raise BadValue("the task name is empty")
    if options.command is not None and options.task is not None:
        raise BadValue("a job runs either a task or a command", "leave one of them out")
    if options.command is not None and options.args:
        raise BadValue("a command takes no --arg", "write its arguments after --")
    if options.starts is not None and options.ends is not None and options.ends < options.starts:
        raise BadValue("the end lies before the start", "nothing would ever be due")
    for one in options.after_jobs:
        if not one.job_id:
            check_name(one.name)
    unknown = [name for name in options.secrets if name not in options.args]
    if unknown:
        raise BadValue(f"{unknown[0]!r} is marked secret but is not an argument")
    return options
