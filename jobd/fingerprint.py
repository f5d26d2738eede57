"""What a state knows of the time zone that its due times follow, and what becomes of it when that changes.

The fingerprint of a state has the zone: `0|Europe/Berlin|30 9 * * *` for the installation's, `0|=Asia/Tokyo|…` for one
that the job names, `0||10s` where none matters. Each due time follows the zone in the fingerprint, on each node where
it is computed, until the state is moved to another: so nodes with different zones do not disturb each other.
"""

import re

from jobd.job import Job, JobState, zone_of
from jobd.schedule import Schedule
from jobd.schedule.base import SEPARATOR

_OFFSET = re.compile(r"(?:Z|[+-][0-9]{2}:[0-9]{2})$")


def fingerprint_of(job: Job, schedule: Schedule, zone: str) -> str:
    """The fingerprint of a state of `job`; `zone` is that of the installation."""
    runonce, rest = job.fingerprint.split("||", 1)
    own = job.options.timezone
    return f"{runonce}|{f'={own}' if own else zone}|{rest}" if schedule.zones() else job.fingerprint


def zone_in_hand(state: JobState, zone: str) -> str:
    """The zone of the installation as the state has it; `zone`, where it says nothing of it."""
    found, own = zone_of(state.fingerprint)
    return zone if own or not found else found


def follows_another(fingerprint: str, zone: str, any_zone: bool = False) -> bool:
    """Whether a state of this fingerprint may have to move to `zone`; `any_zone`: whether it follows a zone at all."""
    found, own = zone_of(fingerprint)
    if found:
        return any_zone or not (own or found == zone)
    return _follows_unnamed(fingerprint.partition("||")[2])


def _follows_unnamed(text: str) -> bool:
    """Whether the schedule of a fingerprint without a zone follows one: before version 0.1.0 it was not stored."""
    return any(_is_by_a_clock(one.strip()) for one in text.partition("|")[0].split(SEPARATOR))


def _is_by_a_clock(text: str) -> bool:
    word = text.partition(" ")[0].lower()
    if word == "at":
        return _OFFSET.search(text) is None
    return (" " in text or text.startswith("@")) and word not in ("after", "every", "@every", "@reboot")


def with_moved_due_time(
    job: Job, state: JobState, schedule: Schedule, was: Schedule | None, fingerprint: str, now: int
) -> JobState:
    """The state of a job whose zone, or its rules, have changed; `was` is its schedule in the zone before, if known.

    What has begun keeps its due time, and a run that a person asked for its own; what is over stays so.
    """
    due = state.resume if state.manual else state.due
    if due is None or state.node or not schedule.zones():
        return state._replace(fingerprint=fingerprint)
    due, skipped = schedule.moved(due, was or schedule, now, state.anchor or due)
    state = state._replace(fingerprint=fingerprint, missed=state.missed + skipped)
    if state.manual:
        return state._replace(resume=due)
    return state._replace(due=due, ready=None if state.ready is None else due)
