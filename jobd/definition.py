"""The meaning of a job's definition: its options with the defaults filled in, its schedule, and whether it is valid."""

from jobd.clock import HOUR
from jobd.errors import BadValue
from jobd.job import Job, Options, check_options, check_retry_times
from jobd.schedule import Schedule, parse
from jobd.schedule.follows import Follows
from jobd.schedule.window import Shifted, Window, offset_of

BUILT_IN = Options(timeout=0, backoff=0, backoff_max=HOUR, catch_up="once", on_lost="rerun", isolation="warm")


def with_defaults(job: Job, defaults: Options) -> Job:
    """`job`, with unset options filled in from `defaults` and then from the built-in values.

    These functions of jobd.lifecycle need it: after_claim, after_attempt, after_loss, after_cancel and
    after_clock_set_back.
    """
    return Job._make((*job[:4], effective(job.options, defaults), *job[5:]))


def effective(options: Options, defaults: Options) -> Options:
    """`options`, with unset values filled in from `defaults` and then from the built-in values."""
    known = _effective.get(id(options))
    if known is not None and known[0] is options and known[1] is defaults:
        return known[2]
    behind = [own if own is not None else last for own, last in zip(defaults, BUILT_IN, strict=True)]
    backdrop = Options._make(behind)._replace(task=None, command=None)
    result = Options._make([own if own is not None else last for own, last in zip(options, backdrop, strict=True)])
    if len(_effective) >= MAX_EFFECTIVE:
        _effective.clear()
    _effective[id(options)] = options, defaults, result
    return result


MAX_EFFECTIVE = 1_024  # cached entries
# Jobs with equal options share one object (see jobd.store.rows), so the same object is passed many times.
_effective: dict[int, tuple[Options, Options, Options]] = {}


def schedule_of(job: Job, zone: str) -> Schedule:
    """The job's schedule; `zone` applies if the job names none. Raises BadValue (ScheduleError has the position)."""
    options = job.options
    if options.after_jobs:
        if job.interval is not None or job.runonce:
            raise BadValue("it has a schedule and runs after other jobs", "remove one of the two")
        if options.jitter or options.skip_dates or options.starts is not None or options.ends is not None:
            raise BadValue(
                "a job that runs after other jobs has no window, no jitter and no dates to skip", "remove them"
            )
        return Follows(options.after_jobs)
    schedule = parse(job.interval, job.runonce, options.timezone or zone, job.name)
    if options.skip_dates:
        from jobd.schedule.days import without

        schedule = without(schedule, options.skip_dates, options.timezone or zone, options.instead or "skip")
    if options.jitter:
        schedule = Shifted(schedule, offset_of(job.name, options.jitter))
    if options.starts is not None or options.ends is not None:
        schedule = Window(schedule, options.starts, options.ends)
    return schedule


def check(job: Job, zone: str) -> Schedule:
    """The job's schedule, after a check of its whole definition. Raises BadValue."""
    check_retry_times(job.retry_times)
    check_options(job.options)
    if job.options.timezone is not None:
        from jobd.schedule.zone import find_zone

        find_zone(job.options.timezone)
    return schedule_of(job, zone)
