"""What is left of a play: all that a user can see of it, beside what the tasks themselves wrote down."""

from typing import Any, NamedTuple

from tests.combine.scenario import Scenario

REFUSED = -1  # the mark of a reload that is to be refused


class Command(NamedTuple):
    """A command, or another step, as it was given and answered. Moments are monotonic seconds."""

    what: str
    job: str  # as it was called first
    words: tuple[str, ...]
    asked: float
    answered: float
    code: int
    output: str
    errors: str
    mark: int = 0  # of the version of the definition that was made, or of the plugins
    node: int = 0


class Record(NamedTuple):
    """All there is to judge. Jobs are called what they were called first."""

    scenario: Scenario
    started: float
    stopped: float  # when the daemons were told to stop
    ended: float
    ahead: float  # seconds that the wall clock is ahead of the monotonic one
    names: dict[str, str]  # later name → first name
    witness: list[dict[str, Any]]
    history: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    output: dict[tuple[str, int], list[tuple[int, str]]]  # (job, run) → (attempt, text) in order
    unfinished: dict[str, int]  # job → the run that is to go on at the next start
    commands: list[Command]
    logs: str
    memory: int  # KiB, the most that a daemon had at any time
    descriptors: int  # at the end
    left: list[int]  # processes that outlived all daemons
