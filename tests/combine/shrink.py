"""Reduces a failing scenario: fewer steps, then fewer jobs, as long as it still fails in the same way."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.combine.scenario import Scenario

Part = TypeVar("Part")


def shrink(scenario: Scenario, fails: Callable[[Scenario], bool], plays: int) -> Scenario:
    """The smallest scenario found in at most `plays` plays. Timing varies, so a play that passes proves little."""
    left = [plays]

    def holds(one: Scenario) -> bool:
        if left[0] <= 0:
            return False
        left[0] -= 1
        return fails(one)

    steps = _fewer(scenario.steps, lambda some: holds(scenario._replace(steps=tuple(some))))
    scenario = scenario._replace(steps=tuple(steps))
    jobs = _fewer(scenario.jobs, lambda some: bool(some) and holds(_with_jobs(scenario, some)))
    return _with_jobs(scenario, jobs)


def _with_jobs(scenario: Scenario, jobs: Sequence[object]) -> Scenario:
    names = {job.name for job in scenario.jobs if job in jobs}
    kept = tuple(job for job in scenario.jobs if job.name in names and names.issuperset(job.parents()))
    names = {job.name for job in kept} | {""}
    return scenario._replace(jobs=kept, steps=tuple(step for step in scenario.steps if step.job in names))


def _fewer(parts: Sequence[Part], fails: Callable[[Sequence[Part]], bool]) -> Sequence[Part]:
    """Leave out ever smaller slices of `parts`, as long as the rest fails."""
    size = max(1, len(parts) // 2)
    while parts:
        at = 0
        while at < len(parts):
            rest = [*parts[:at], *parts[at + size :]]
            if fails(rest):
                parts = rest
            else:
                at += size
        if size == 1:
            break
        size //= 2
    return parts
