"""Scenarios: jobs, their options, the behaviour of their tasks, and the commands and faults of some seconds.

A scenario can be stored as JSON, so a failing one can be reduced to a short script. drawing.py draws one from a seed.
"""

import json
from typing import Any, NamedTuple

MARK = "mark"  # the argument with the version of the definition
TOGETHER = "--together"  # instead of a schedule: due so many seconds after the start, with all other such jobs


class JobPlan(NamedTuple):
    """A job as it is added: the words of `jobd add` and the arguments of its task."""

    name: str
    words: tuple[str, ...]
    arguments: dict[str, Any]

    def option(self, name: str) -> str | None:
        """The value of an option, the last one if there are several."""
        given = [value for word, value in zip(self.words, self.words[1:], strict=False) if word == name]
        return given[-1] if given else None

    def parents(self) -> list[str]:
        """The jobs that it runs after."""
        return [value for word, value in zip(self.words, self.words[1:], strict=False) if word == "--after-job"]

    @property
    def witnessed(self) -> bool:
        """Whether it runs a task of the witness, which records its attempts; a program does not."""
        return MARK in self.arguments


class Step(NamedTuple):
    """One command or fault, `at` seconds after the start. `node` counts from 0."""

    at: float
    what: str
    job: str = ""
    words: tuple[str, ...] = ()
    node: int = 0


class Scenario(NamedTuple):
    """Jobs and steps on daemons with `workers` workers each, whose wall clocks are ahead by some seconds."""

    seed: int
    kind: str
    seconds: float
    clocks: tuple[float, ...]
    workers: int
    jobs: tuple[JobPlan, ...]
    steps: tuple[Step, ...]

    @property
    def nodes(self) -> int:
        """The number of daemons."""
        return len(self.clocks)

    def to_json(self) -> str:
        """The scenario as text."""
        return json.dumps(self._asdict() | {"jobs": [job._asdict() for job in self.jobs]}, indent=1)


def from_json(text: str) -> Scenario:
    """The scenario that `to_json` wrote."""
    found = json.loads(text)
    jobs = [JobPlan(job["name"], tuple(job["words"]), job["arguments"]) for job in found["jobs"]]
    steps = [Step(at, what, job, tuple(words), node) for at, what, job, words, node in found["steps"]]
    given = {"jobs": tuple(jobs), "steps": tuple(steps), "clocks": tuple(found["clocks"])}
    return Scenario(**found | given)
