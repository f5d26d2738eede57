"""Builds a definition from the options of `add` and `set`. Pure: no clock, database or I/O."""

from collections.abc import Iterable, Mapping
from typing import Any

from jobd.cli.options import CLEARED, Assignment
from jobd.clock import iso
from jobd.dependency import Dependency, parse_dependencies
from jobd.errors import BadValue
from jobd.job import PLAIN, Job, Options, check_options
from jobd.option_kinds import Dates, Moment
from jobd.options import WITH_FLAG, Option
from jobd.schedule.base import Flaw, ScheduleError

WHEN = ("every", "after", "cron", "calendar", "at", "in_", "interval")
NONE_GIVEN: Mapping[str, Any] = {
    **dict.fromkeys(("task", "retry_times", *WHEN)),
    **dict.fromkeys(option.name for option in WITH_FLAG),
    **dict.fromkeys(("args", "secret_args", "no_args", "after_jobs"), ()),
    "once": False,
}  # the values for `edited` if no option is given
WHEN_OPTIONS = "--every, --after, --cron, --calendar, --at, --in, --once, --after-job or --interval"


def edited(job: Job, given: Mapping[str, Any], command: tuple[str, ...] | None, now: int, zone: str) -> Job:
    """`job` with the `given` options; options that are not given stay as they are. Raises BadValue for invalid ones.

    `now`: µs since 1970 UTC. `zone`: the time zone of jobs that name none.
    """
    options = _with_program(job, given["task"], command)
    options = _with_args(options, given["args"], given["secret_args"], given.get("no_args", ()))
    own_zone = options.timezone if given["timezone"] is None else None
    if isinstance(given["timezone"], str):
        from jobd.schedule.zone import find_zone

        own_zone = given["timezone"]
        find_zone(own_zone)
    zone = own_zone or zone
    plain = {
        option.name: _value(option, given[option.name], now, zone)
        for option in WITH_FLAG
        if given[option.name] is not None
    }
    job = job._replace(options=check_options(options._replace(**plain)))
    if given["retry_times"] is not None:
        job = job._replace(retry_times=given["retry_times"])
    said = [name for name in WHEN if given[name] is not None]
    if given["after_jobs"]:
        if said or given["once"]:
            raise BadValue("a job has a schedule or runs after other jobs", "give one of them")
        job = job._replace(options=check_options(job.options._replace(after_jobs=_after(job, given["after_jobs"]))))
        return job._replace(interval=None, runonce=False)
    if said or given["once"]:
        job = job._replace(options=job.options._replace(after_jobs=()))
    if len(said) > 1:
        raise BadValue(f"--{said[0].strip('_')} and --{said[1].strip('_')} contradict each other", "give one of them")
    if said:
        value = given[said[0]]
        if said[0] == "every" and value.lower().startswith("every "):
            value = value[6:].lstrip()  # --every 'every friday at 9'
        try:
            interval = _interval(said[0], value, now, zone)
        except Flaw as flaw:
            raise ScheduleError(str(flaw), value, flaw.position, flaw.hint) from None
        return job._replace(interval=interval, runonce=given["once"])
    return job._replace(interval=None, runonce=True) if given["once"] else job


def _value(option: Option, value: Any, now: int, zone: str) -> Any:
    """The value of an option that is given. One that is cleared is not set."""
    if value is CLEARED:
        return getattr(PLAIN, option.name)
    match option.kind:
        case Moment():
            return moment_given(value, now, zone)
        case Dates():
            return tuple(value)
    return value


def moment_given(text: str, now: int, zone: str) -> int:
    """The time (µs since 1970 UTC) of a text such as ISO 8601 or `tomorrow 09:00`."""
    from jobd.schedule.at import parse_at

    try:
        return parse_at(_clock(text, now, zone), zone).moment
    except Flaw as flaw:
        raise ScheduleError(str(flaw), text, flaw.position, flaw.hint) from None


def _clock(text: str, now: int, zone: str) -> str:
    from jobd.schedule.words import compile_at
    from jobd.schedule.zone import clock_time, find_zone

    return compile_at(text, clock_time(now, find_zone(zone)))


def _interval(option: str, value: str, now: int, zone: str) -> str:
    """The text of the column `interval` for one of the schedule options."""
    from jobd.schedule.duration import parse_duration

    value = value.rstrip()
    match option:
        case "every":
            from jobd.schedule.words import compile_every

            compiled = compile_every(value)
            if compiled == value:
                parse_duration(value)
            return compiled
        case "after" | "in_":
            from jobd.schedule.words import compile_duration

            value = compile_duration(value)
            duration = parse_duration(value)
            return f"after {value}" if option == "after" else f"at {iso(now + duration)}"
        case "at":
            return f"at {_clock(value, now, zone)}"
        case "calendar":
            return f"calendar {value}"
        case "cron" if not (value.startswith("@") or len(value.split()) > 1):
            raise BadValue(f"--cron is {ascii(value)[:80]}", "give five fields, as in '*/5 * * * *', or --every D")
    return value


def _after(job: Job, texts: Iterable[str]) -> tuple[Dependency, ...]:
    """The dependencies in `texts`. One that the job already has keeps the job to which it refers."""
    known = {one._replace(job_id=0): one for one in job.options.after_jobs}
    return tuple(known.get(one, one) for one in parse_dependencies(texts))


def _with_program(job: Job, task: str | None, command: tuple[str, ...] | None) -> Options:
    """The options with the task (by its own name or the job's) or the program."""
    if command is not None and task is not None:
        raise BadValue("a job runs either a task or a program", "leave out --task or what follows --")
    if command is not None:
        return job.options._replace(task=None, command=command, args={}, secrets=())
    if task is not None:
        return job.options._replace(task=None if task == job.name else task, command=None)
    return job.options


def _with_args(
    options: Options, plain: tuple[Assignment, ...], secret: tuple[Assignment, ...], removed: tuple[str, ...]
) -> Options:
    keys = [*(key for key, _ in plain), *(key for key, _ in secret), *removed]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise BadValue(f"the argument {twice!r} is given twice")
    missing = next((key for key in removed if key not in options.args), None)
    if missing is not None:
        raise BadValue(f"the job has no argument {missing!r}", "see `jobd show`")
    args = {**options.args, **dict(plain), **dict(secret)}
    secrets = {*options.secrets, *(key for key, _ in secret)} - {key for key, _ in plain} - set(removed)
    return options._replace(
        args={key: value for key, value in args.items() if key not in removed}, secrets=tuple(sorted(secrets))
    )
