"""The record of a play: all results that a user can see, and the tasks' own records."""

from typing import Any, NamedTuple

from tests.combine.scenario import Scenario

REFUSED = -1  # the mark of a reload that must be refused


class Command(NamedTuple):
    """A command, or another step, and its answer. Moments are monotonic seconds."""

    what: str
    job: str  # its first name
    words: tuple[str, ...]
    asked: float
    answered: float
    code: int
    output: str
    errors: str
    mark: int = 0  # the version of the new definition, or of the plugins
    node: int = 0


class Record(NamedTuple):
    """The input of the judge. Jobs have their first names."""

    scenario: Scenario
    started: float
    stopped: float  # when the daemons were asked to stop
    ended: float
    ahead: float  # seconds that the wall clock is ahead of the monotonic one
    names: dict[str, str]  # later name → first name
    witness: list[dict[str, Any]]
    history: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    output: dict[tuple[str, int], list[tuple[int, str]]]  # (job, run) → (attempt, text) in order
    unfinished: dict[str, int]  # job → the run that would continue at the next start
    commands: list[Command]
    logs: str
    memory: int  # KiB, the peak of all daemons
    descriptors: int  # at the end
    left: list[int]  # processes that outlived all daemons
