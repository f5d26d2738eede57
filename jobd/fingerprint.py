"""The time zone in the fingerprint of a job state, and the change of a state to another zone.

The fingerprint has the zone: `0|Europe/Berlin|30 9 * * *` for the installation's zone, `0|=Asia/Tokyo|…` for a zone
that the job names, `0||10s` for a schedule that depends on no zone. Every node computes due times in the zone of the
fingerprint until the state is moved to another zone. So nodes with different zones do not disturb each other.
"""

import re

from jobd.job import Job, JobState, zone_of
from jobd.schedule import Schedule
from jobd.schedule.base import SEPARATOR

_OFFSET = re.compile(r"(?:Z|[+-][0-9]{2}:[0-9]{2})$")


def fingerprint_of(job: Job, schedule: Schedule, zone: str) -> str:
    """The fingerprint for a state of `job`; `zone` is that of the installation."""
    runonce, rest = job.fingerprint.split("||", 1)
    own = job.options.timezone
    return f"{runonce}|{f'={own}' if own else zone}|{rest}" if schedule.zones() else job.fingerprint


def current_zone(state: JobState, zone: str) -> str:
    """The installation's zone that the state follows; `zone` if the state does not name it."""
    found, own = zone_of(state.fingerprint)
    return zone if own or not found else found


def follows_another(fingerprint: str, zone: str, any_zone: bool = False) -> bool:
    """Whether a state of this fingerprint may have to move to `zone`; `any_zone`: whether it follows any zone."""
    found, own = zone_of(fingerprint)
    if found:
        return any_zone or not (own or found == zone)
    return _follows_unnamed(fingerprint.partition("||")[2])


def _follows_unnamed(text: str) -> bool:
    """Whether the schedule in a fingerprint without a zone follows one: before version 0.1.0 no zone was stored."""
    return any(_is_by_a_clock(one.strip()) for one in text.partition("|")[0].split(SEPARATOR))


def _is_by_a_clock(text: str) -> bool:
    word = text.partition(" ")[0].lower()
    if word == "at":
        return _OFFSET.search(text) is None
    return (" " in text or text.startswith("@")) and word not in ("after", "every", "@every", "@reboot")


def with_moved_due_time(
    state: JobState, schedule: Schedule, was: Schedule | None, fingerprint: str, now: int
) -> JobState:
    """The state of a job whose zone, or the rules of it, changed; `was` is its schedule in the old zone, if known.

    A claimed job and a requested run keep their due times. A job without a further due time stays without one.
    """
    due = state.resume if state.manual else state.due
    if due is None or state.node or not schedule.zones():
        return state._replace(fingerprint=fingerprint)
    due, skipped = schedule.moved(due, was or schedule, now, state.anchor or due)
    state = state._replace(fingerprint=fingerprint, missed=state.missed + skipped)
    if state.manual:
        return state._replace(resume=due)
    return state._replace(due=due, ready=None if state.ready is None else due)
