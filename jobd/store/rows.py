"""Conversion between table rows and the values of jobd.job. An invalid row is reported in the result, not raised.

The columns are listed here once, in the order in which every statement reads and writes them.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from jobd.clock import LATEST, SECOND, from_datetime, to_datetime
from jobd.errors import MAX_ERROR, BadValue
from jobd.job import (
    DEFAULT_POOL,
    MAX_BIGINT,
    MAX_COUNTER,
    MAX_STATE_ERROR,
    PLAIN,
    Job,
    JobState,
    Options,
    Run,
    check_name,
    check_options,
    check_retry_times,
    options_set,
)
from jobd.option_kinds import read_object
from jobd.options import OPTION_TABLE, Option

JOB = (
    "id",
    "name",
    "retry_times",
    "runonce",
    "interval",
    "created_time",
    "updated_time",
    "lastFinished_time",
    "is_delete",
)
OPTIONS = tuple(option.name for option in OPTION_TABLE)
_UNSET: dict[str, Any] = {option.name: option.kind.unset for option in OPTION_TABLE}
SCHEDULE = (  # in the order of the fields of JobState; `basis` is the column of its fingerprint
    "job_id", "due_time", "ready_time", "attempt", "losses", "number", "anchor", "resume_time", "manual",
    "pool", "missed", "basis", "error", "guarded", "node_id", "token", "started_time", "priority",
)  # fmt: skip
# ADVANCING: the columns that change after an ordinary run. RESET_AFTER_RUN: those that return to their defaults then.
# All others keep their values.
ADVANCING = ("job_id", "due_time", "ready_time", "number", "anchor", "missed")
RESET_AFTER_RUN = ("attempt", "losses", "resume_time", "manual", "error", "guarded", "node_id", "started_time")
RUN = (
    "job_id", "number", "due_time", "started_time", "finished_time", "attempts", "outcome", "node_id",
    "error", "result", "missed",
)  # fmt: skip
_MOMENT_NAMES = ("due_time", "ready_time", "anchor", "resume_time", "started_time")
_moments = itemgetter(*(SCHEDULE.index(name) for name in _MOMENT_NAMES))
_MANUAL_AT, _GUARDED_AT = SCHEDULE.index("manual"), SCHEDULE.index("guarded")
_BASIS_AT, _ERROR_AT = SCHEDULE.index("basis"), SCHEDULE.index("error")
_TEXTS = {"pool", "basis", "error"}
# The fingerprint of a state, or the outcome of a run, whose row is invalid. Such a state is planned again soon.
UNREADABLE = "unsound"
_FIRST = from_datetime(datetime(1, 1, 3, tzinfo=UTC))  # from here to _LAST, every time zone has a datetime
_LAST = from_datetime(datetime(9999, 12, 29, tzinfo=UTC))
MAX_BASIS = 600  # characters: the width of the column
CACHED = 256  # entries per cache: long lists repeat the same values


def columns(table: str, names: Sequence[str]) -> str:
    """The quoted columns of `table`, for a SELECT."""
    return ", ".join(f'{table}."{name}"' for name in names)


def read_job(row: Sequence[Any]) -> tuple[Job | None, str | None]:
    """(job, None), or (its readable part or None, the reason why it is invalid), from JOB + OPTIONS columns."""
    job_id, name, retry_times, runonce, interval, created, updated, finished, is_delete = row[: len(JOB)]
    if not isinstance(name, str):
        return None, "name is not text"
    common, problem = _read_common(retry_times, runonce, interval, is_delete, *row[len(JOB) :])
    try:
        if check_name(name) != name:
            raise BadValue("the name is not in Unicode's normal form NFC")
    except BadValue as error:
        problem = str(error)
    times: tuple[int | None, ...] = (None, None, None)
    if created is not None or updated is not None or finished is not None:
        times = (_time(created), _time(updated), _time(finished))
    job = Job(
        name, common.interval, common.runonce, common.retry_times, common.options, job_id, times[0] or 0,
        times[1] or 0, times[2], common.deleted,
    )  # fmt: skip
    return job, problem


class _Common(NamedTuple):
    """The parts of a definition other than its name, id and times."""

    retry_times: int
    runonce: bool
    interval: str | None
    deleted: bool
    options: Options


# Many jobs are alike: their common part is read and checked once, and they share the object.
@lru_cache(maxsize=CACHED, typed=True)
def _read_common(
    retry_times: Any, runonce: Any, interval: Any, is_delete: Any, *options: Any
) -> tuple[_Common, str | None]:
    read, problem = _read_options(options)
    try:
        check_retry_times(retry_times)
        for what, flag in (("runonce", runonce), ("is_delete", is_delete)):
            if flag not in (0, 1):
                raise BadValue(f"{what} is {flag!r}, not 0 or 1")
        if interval is not None and not isinstance(interval, str):
            raise BadValue("interval is not text")
    except BadValue as error:
        problem = str(error)
    common = _Common(
        retry_times if isinstance(retry_times, int) else 0,
        runonce == 1,
        interval if isinstance(interval, str) else None,
        is_delete == 1,
        read,
    )
    return common, problem


def _read_options(row: Sequence[Any]) -> tuple[Options, str | None]:
    """(options without the invalid ones, problem or None). A row of NULLs (the job has no row) gives PLAIN."""
    if not any(row):
        return PLAIN, None
    given = [(option, value) for option, value in zip(OPTION_TABLE, row, strict=True) if value is not None]
    try:
        return check_options(PLAIN._replace(**{one.name: _read_option(one, value) for one, value in given})), None
    except BadValue as error:
        return _readable_options(given), str(error)


def _readable_options(given: Iterable[tuple[Option, Any]]) -> Options:
    found = PLAIN
    for option, value in given:
        try:
            found = check_options(found._replace(**{option.name: _read_option(option, value)}))
        except BadValue:
            pass
    return found


def _read_option(option: Option, value: Any) -> Any:
    """The value of an option that is set. Raises BadValue."""
    if type(value) is not option.kind.stored:
        wanted = "text" if option.kind.stored is str else "a whole number"
        raise BadValue(f"{option.name} is {ascii(value)[:80]}, not {wanted}")
    return option.kind.from_column(option.name, value)


def read_pools(text: Any) -> Mapping[str, int]:
    """A node's number of workers by pool; empty if the column is NULL or invalid."""
    try:
        sizes = read_object(text, "pools") if text is not None else {}
    except BadValue:
        return {}
    return {pool: size for pool, size in sizes.items() if type(size) is int}


def options_row(options: Options) -> tuple[Any, ...]:
    """The values of the OPTIONS columns."""
    row = _UNSET.copy()
    for option, value in options_set(options):
        row[option.name] = option.kind.to_column(value)
    return tuple(row.values())


def read_state(row: Sequence[Any]) -> JobState:
    """The state, from the SCHEDULE columns. For an invalid row: a state with its claim and an error, UNREADABLE."""
    values = list(row)
    values[_MANUAL_AT], values[_GUARDED_AT] = bool(row[_MANUAL_AT]), bool(row[_GUARDED_AT])
    state = JobState._make(values)
    flaw = _flaw(row, state)
    if flaw is None:
        return state
    return JobState(
        state.job_id,
        pool=state.pool if isinstance(state.pool, str) else DEFAULT_POOL,
        fingerprint=UNREADABLE,
        error=f"its row of the table `schedule` is invalid: {flaw}",
        guarded=state.guarded,
        node=state.node if type(state.node) is int else 0,
        token=state.token,
    )


def _flaw(row: Sequence[Any], state: JobState) -> str | None:
    """The problem of a row of `schedule`; None: it is valid."""
    shape = tuple(map(type, row))
    if shape not in _shapes:
        for what, value in zip(SCHEDULE, row, strict=True):
            if type(value) is not (str if what in _TEXTS else int) and not (value is None and what in _NULLABLE):
                return f"{what} is {ascii(value)[:80]}"
        _shapes.add(shape)
    for moment in _moments(row):
        if moment is not None and not 0 <= moment <= LATEST:
            return f"{_MOMENT_NAMES[_moments(row).index(moment)]} is {moment}"
    if not 1 <= state.number <= MAX_COUNTER:
        return f"number is {state.number}"
    attempt, losses, missed = state.attempt, state.losses, state.missed
    if not (0 <= attempt <= MAX_COUNTER and 0 <= losses <= MAX_COUNTER and 0 <= missed <= MAX_COUNTER):
        return "a count is negative or too large"
    if not 0 <= state.token <= MAX_COUNTER:
        return f"token is {state.token}"
    if state.due is None and (state.ready is not None or state.started is not None):
        return "due_time is missing"
    return None


_NULLABLE = {"due_time", "ready_time", "anchor", "resume_time", "error", "started_time"}
_shapes: set[tuple[type, ...]] = set()  # the column types of valid rows, to skip the check of each column


def state_row(state: JobState) -> tuple[Any, ...]:
    """The values of the SCHEDULE columns."""
    values: list[Any] = list(state)
    values[_MANUAL_AT], values[_GUARDED_AT] = int(state.manual), int(state.guarded)
    values[_BASIS_AT] = state.fingerprint[:MAX_BASIS]
    values[_ERROR_AT] = state.error and state.error[:MAX_STATE_ERROR]
    return tuple(values)


def only_advanced(state: JobState) -> bool:
    """Whether this state after a run can be written by the columns ADVANCING, with RESET_AFTER_RUN at their defaults.

    (The pool, the priority, the fingerprint and the token stay as they were in the run, unless there is an error.)
    """
    return not (state.node or state.attempt or state.losses or state.manual or state.guarded) and (
        state.resume is None and state.error is None and state.started is None
    )


def advancing_row(state: JobState) -> tuple[Any, ...]:
    """The values of the ADVANCING columns."""
    return state.job_id, state.due, state.ready, state.number, state.anchor, state.missed


def run_row(run: Run) -> tuple[Any, ...]:
    """The values of the RUN columns."""
    return tuple(run if run.error is None else run._replace(error=run.error[:MAX_ERROR].replace("\0", "\ufffd")))


def read_run(row: Sequence[Any]) -> Run:
    """The run, from the RUN columns. For an invalid row: a run with job, number and error, and outcome UNREADABLE."""
    run = Run._make(row)
    flaw = _flaw_of_run(run)
    if flaw is None:
        return run
    job_id, number = (value if type(value) is int else 0 for value in row[:2])
    reason = f"its row of the table `run` is invalid: {flaw}"
    return Run(job_id, number, 0, None, 0, 0, UNREADABLE, 0, reason)


def _flaw_of_run(run: Run) -> str | None:
    """The problem of a row of `run`; None: it is valid."""
    for what, value in zip(RUN, run, strict=True):
        if value is None and what in _NO_NEED_IN_RUN:
            continue
        if what in _RUN_TEXTS:
            good = isinstance(value, str)
        else:
            most = LATEST if what.endswith("_time") else MAX_BIGINT
            good = type(value) is int and value <= most and (value >= 0 or what == "node_id")
        if not good:
            return f"{what} is {ascii(value)[:80]}"
    return None


_RUN_TEXTS = {"outcome", "error", "result"}
_NO_NEED_IN_RUN = {"started_time", "error", "result"}


def read_time(value: Any) -> int | None:
    """The moment (µs) in a datetime column, which some drivers return as text. Raises ValueError or TypeError."""
    if value is None:
        return None
    return from_datetime(value if isinstance(value, datetime) else datetime.fromisoformat(value))


@lru_cache(maxsize=CACHED)
def _time(value: Any) -> int | None:
    """The moment (µs) in a column of `job`. An invalid one gives None, because it need not stop the job."""
    try:
        moment = read_time(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return moment if moment is not None and _FIRST <= moment <= _LAST else None


def write_time(moment: int) -> str:
    """A moment as text that every database accepts for a datetime column."""
    seconds, rest = divmod(moment, SECOND)
    return f"{_write_second(seconds)}.{rest:06d}"


@lru_cache(maxsize=16)
def _write_second(seconds: int) -> str:
    return to_datetime(seconds * SECOND).isoformat(" ", "seconds")[:-6]
