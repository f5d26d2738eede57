"""What is combined: jobs, their options, what their tasks do, and the commands and faults of some seconds, all drawn
from a seed. A scenario is a value that JSON can hold, so a failing one can be cut down to a short script.
"""

import json
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

POOLS = ("default", "second")
MARK = "mark"  # the argument that says which version of a definition a run had


class JobPlan(NamedTuple):
    """A job as it is added: the words of `jobd add` and the arguments of its task."""

    name: str
    words: tuple[str, ...]
    arguments: dict[str, Any]


class Step(NamedTuple):
    """One thing that happens `at` seconds after the start. `node` counts from 0."""

    at: float
    what: str
    job: str = ""
    words: tuple[str, ...] = ()
    node: int = 0


class Scenario(NamedTuple):
    """Jobs and steps on `nodes` daemons of `workers` workers each."""

    seed: int
    seconds: float
    nodes: int
    workers: int
    jobs: tuple[JobPlan, ...]
    steps: tuple[Step, ...]

    def to_json(self) -> str:
        """The scenario as text."""
        return json.dumps(self._asdict() | {"jobs": [job._asdict() for job in self.jobs]}, indent=1)


def from_json(text: str) -> Scenario:
    """The scenario that `to_json` wrote."""
    found = json.loads(text)
    jobs = [JobPlan(job["name"], tuple(job["words"]), job["arguments"]) for job in found["jobs"]]
    steps = [Step(at, what, job, tuple(words), node) for at, what, job, words, node in found["steps"]]
    return Scenario(**found | {"jobs": tuple(jobs), "steps": tuple(steps)})


def draw(seed: int, seconds: float, shared: bool) -> Scenario:
    """The scenario of a seed. `shared`: the database is a server, which several nodes may use and which may be away."""
    chance = random.Random(seed)
    nodes = chance.choice([1, 1, 2, 3]) if shared else chance.choice([1, 1, 1, 2])
    if chance.random() < 0.3:  # so many short runs at once that workers prefetch them
        jobs = tuple(_short_job(chance, number) for number in range(chance.randint(60, 200)))
    else:
        jobs = tuple(_job(chance, number) for number in range(chance.randint(3, 40)))
    steps = sorted(_steps(chance, [job.name for job in jobs], seconds, nodes), key=lambda step: step.at)
    return Scenario(seed, seconds, nodes, chance.choice([1, 2, 2, 3]), jobs, tuple(steps))


def _job(chance: random.Random, number: int) -> JobPlan:
    name = chance.choice(["job", "mail", "übung", "a b", "x/y"]) + f"-{number}"
    words = [*_schedule(chance, number), "--task", chance.choice(["act", "act", "act", "act_async"])]
    for option, values, likelihood in (
        ("--retry", ("1", "2", "3"), 0.4),
        ("--backoff", ("50ms", "300ms"), 0.2),
        ("--timeout", ("400ms", "1500ms"), 0.2),
        ("--isolation", ("fresh", "fork"), 0.15),
        ("--pool", ("second",), 0.2),
        ("--priority", ("-5", "5"), 0.2),
        ("--catch-up", ("none", "all"), 0.3),
        ("--on-lost", ("fail",), 0.15),
        ("--grace", ("2s",), 0.1),
    ):
        if chance.random() < likelihood:
            words += [option, chance.choice(values)]
    return JobPlan(name, tuple(words), _behaviour(chance) | {MARK: 0})


def _short_job(chance: random.Random, number: int) -> JobPlan:
    words = ["--every", chance.choice(["500ms", "1s"]), "--task", "act", *chance.choice([[], ["--retry", "2"]])]
    behaviour = _behaviour(chance) | {"say": chance.choice([0, 1, 1, 2]), "seconds": 0}
    behaviour["end"] = chance.choices(["return", "raise", "exit"], [20, 20, 1])[0]
    behaviour["how"] = chance.choices(["print", "raw", "partial", "logging"], [10, 5, 2, 5])[0]
    return JobPlan(f"short-{number}", tuple(words), behaviour | {MARK: 0})


def _schedule(chance: random.Random, number: int) -> list[str]:
    kind = chance.random()
    if kind < 0.55:
        return ["--every", chance.choice(["100ms", "250ms", "500ms", "1s", "1s", "2s"])]
    if kind < 0.7:
        return ["--after", chance.choice(["100ms", "500ms"])]
    if kind < 0.8:
        return ["--cron", chance.choice(["* * * * * *", "*/2 * * * * *"])]
    if kind < 0.9 and number:
        return ["--after-job", "PARENT"]
    return ["--once"]


def _behaviour(chance: random.Random) -> dict[str, Any]:
    """The arguments of the witness's task (see witness.py)."""
    return {
        "say": chance.choice([0, 0, 1, 1, 3, 50]),
        "how": chance.choice(["print", "print", "logging", "child", "raw", "partial"]),
        "seconds": chance.choice([0, 0, 0, 0.005, 0.05, 0.6]),
        "fails": chance.choice([0, 0, 0, 1, 2, 9]),
        "end": chance.choice(["return", "return", "return", "raise", "exit", "kill"]),
        "value": chance.choice([None, 1, "text", {"a": [1, 2]}]),
    }


def _steps(chance: random.Random, names: Sequence[str], seconds: float, nodes: int) -> list[Step]:
    steps = []
    for _ in range(int(seconds * chance.choice([0.5, 1.0, 2.0]))):
        at, name = round(chance.uniform(0.5, seconds), 3), chance.choice(names)
        kind = chance.choices(list(LIKELY), list(LIKELY.values()))[0]
        if kind == "set":
            steps.append(Step(at, "set", name, tuple(_changes(chance))))
        elif kind in ("kill", "restart", "reload"):
            steps.append(Step(at, kind, node=chance.randrange(nodes)))
        else:
            steps.append(Step(at, kind, name))
        if kind in ("pause", "rm", "sql delete"):
            steps.append(Step(round(at + chance.uniform(0.2, 4), 3), UNDO[kind], name))
    return steps


LIKELY = {
    "run": 6.0, "run --wait": 2.0, "cancel": 3.0, "set": 6.0, "pause": 3.0, "rm": 2.0, "sql delete": 1.0,
    "sql interval": 2.0, "reload": 1.0, "restart": 0.7, "kill": 0.7, "away": 0.5,
}  # fmt: skip
UNDO = {"pause": "resume", "rm": "restore", "sql delete": "sql undelete"}


def _changes(chance: random.Random) -> list[str]:
    return chance.choice(
        [
            ["--retry", chance.choice(["0", "2"])],
            ["--every", chance.choice(["200ms", "700ms"])],
            ["--timeout", chance.choice(["none", "500ms"])],
            ["--priority", chance.choice(["-1", "1"])],
            ["--backoff", "100ms"],
            ["--arg", "say=2"],
            ["--arg", "fails=1"],
        ]
    )
