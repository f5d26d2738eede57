"""What a plan knows of the time zone that its due times follow, and what becomes of it when that changes.

The basis of a plan names the zone: `0|Europe/Berlin|30 9 * * *` for that of the installation, `0|=Asia/Tokyo|…` for one
that the job names, `0||10s` where none matters. Each due time follows the zone in the basis, on each node where it is
computed, until the plan is moved to another: so nodes with different zones do not disturb each other.
"""

import re

from jobd.job import Job, Plan, zone_of
from jobd.schedule import Schedule
from jobd.schedule.base import SEPARATOR

_OFFSET = re.compile(r"(?:Z|[+-][0-9]{2}:[0-9]{2})$")


def basis_of(job: Job, schedule: Schedule, zone: str) -> str:
    """The basis of a plan of `job`; `zone` is that of the installation."""
    runonce, rest = job.basis.split("||", 1)
    own = job.options.timezone
    return f"{runonce}|{f'={own}' if own else zone}|{rest}" if schedule.zones() else job.basis


def zone_in_hand(plan: Plan, zone: str) -> str:
    """The zone of the installation as the plan has it; `zone`, where it says nothing of it."""
    found, own = zone_of(plan.basis)
    return zone if own or not found else found


def follows_another(basis: str, zone: str, any_zone: bool = False) -> bool:
    """Whether a plan of this basis may have to be moved to `zone`; `any_zone`: whether it follows a zone at all."""
    found, own = zone_of(basis)
    if found:
        return any_zone or not (own or found == zone)
    return _follows_unnamed(basis.partition("||")[2])


def _follows_unnamed(text: str) -> bool:
    """Whether the schedule of a basis without a zone follows one: before version 0.1.0 it was not written down."""
    return any(_is_by_a_clock(one.strip()) for one in text.partition("|")[0].split(SEPARATOR))


def _is_by_a_clock(text: str) -> bool:
    word = text.partition(" ")[0].lower()
    if word == "at":
        return _OFFSET.search(text) is None
    return (" " in text or text.startswith("@")) and word not in ("after", "every", "@every", "@reboot")


def moved(job: Job, plan: Plan, schedule: Schedule, was: Schedule | None, basis: str, now: int) -> Plan:
    """The plan of a job whose zone, or its rules, have changed; `was` is its schedule in the zone before, if known.

    What has begun keeps its due time, and a run that a person asked for its own; what is over stays so.
    """
    due = plan.resume if plan.manual else plan.due
    if due is None or plan.node or not schedule.zones():
        return plan._replace(basis=basis)
    due, skipped = schedule.moved(due, was or schedule, now, plan.anchor or due)
    plan = plan._replace(basis=basis, missed=plan.missed + skipped)
    if plan.manual:
        return plan._replace(resume=due)
    return plan._replace(due=due, ready=None if plan.ready is None else due)
