"""Draws jobs, their tasks' arguments, and commands, from all that jobd has; situations.py combines them."""

import random
from collections.abc import Sequence
from typing import Any

from tests.combine.scenario import MARK, JobPlan, Step

NAMES = ("job", "mail", "übung", "a b", "x/y")
QUIET = {"say": 0, "how": "print", "pad": 0, "seconds": 0, "fails": 0, "end": "return", "value": None, "leaves": ""}
LEAVINGS = (
    "nonblock", "nonblock child", "sigpipe", "handler", "alarm", "timers", "faulthandler", "stdin", "descriptor",
    "directory", "umask", "environment", "mask", "affinity",
)  # fmt: skip
LIKELY = {
    "run": 6.0, "run --wait": 2.0, "cancel": 3.0, "set": 6.0, "pause": 3.0, "rm": 2.0, "sql delete": 1.0,
    "sql interval": 1.5, "sql retry": 1.0, "sql insert": 0.3, "apply": 1.0, "rename": 1.0, "look": 2.0, "reload": 0.7,
    "new code": 0.7, "bad code": 0.5, "restart": 0.7, "kill": 0.7, "away": 0.5,
}  # fmt: skip
UNDO = {"pause": ("resume",), "rm": ("restore", "restore", "add again"), "sql delete": ("sql undelete",)}
OF_A_NODE = ("kill", "restart", "reload", "new code", "bad code", "down")
OF_A_TASK = ("set", "apply", "add again")  # they change the arguments of a task; programs have none
LOOKS = (
    ("list", "--all", "--json"), ("next", "--json"), ("next", "-n", "3"), ("status", "--json"), ("export",),
    ("tasks", "--json"), ("history", "-n", "5"), ("list",),
)  # fmt: skip
PROGRAMS = (
    ("sh", "-c", "exit 0"), ("sh", "-c", "exit 3"), ("sh", "-c", "kill -9 $$"), ("sh", "-c", "kill -s 35 $$"),
    ("sh", "-c", "kill -s 34 $$"), ("p" * 3000,),
)  # fmt: skip


class Draw:
    """One drawing: its random numbers, and the scenario so far."""

    def __init__(self, seed: int, seconds: float, shared: bool) -> None:
        self.chance = random.Random(seed)
        self.seconds, self.shared = seconds, shared
        self.nodes = self.chance.choice([1, 1, 1, 2, 2, 3]) if shared else self.chance.choice([1, 1, 1, 2])
        self.workers = self.chance.choice([1, 2, 2, 3])
        self.clocks = [0.0] * self.nodes

    def name(self, number: int) -> str:
        return f"{self.chance.choice(NAMES)}-{number}"

    def some(self, least: int, most: int) -> range:
        return range(self.chance.randint(least, most))

    def moment(self, before_end: float = 0.0) -> float:
        return round(self.chance.uniform(0.5, max(1.0, self.seconds - before_end)), 3)


# Jobs


def any_job(one: Draw, number: int) -> JobPlan:
    words = [*_schedule(one), "--task", one.chance.choice(["act", "act", "act", "act_async"])]
    for option, values, likelihood in (
        ("--retry", ("1", "2", "3"), 0.4),
        ("--backoff", ("50ms", "300ms"), 0.2),
        ("--timeout", ("400ms", "1500ms"), 0.2),
        ("--isolation", ("fresh", "fork"), 0.08),
        ("--pool", ("second",), 0.2),
        ("--priority", ("-5", "5"), 0.2),
        ("--catch-up", ("none", "all"), 0.3),
        ("--on-lost", ("fail",), 0.15),
        ("--grace", ("2s",), 0.1),
    ):
        if one.chance.random() < likelihood:
            words += [option, one.chance.choice(values)]
    if "--isolation" in words:  # each run starts a process
        words = ["--every", "2s", *words[words.index("--task") :]]
    arguments = arguments_of(one)
    if one.chance.random() < 0.1:
        arguments["leaves"] = one.chance.choice(LEAVINGS)
    return JobPlan(one.name(number), tuple(words), arguments)


def _schedule(one: Draw) -> list[str]:
    kind = one.chance.random()
    if kind < 0.55:
        return ["--every", one.chance.choice(["200ms", "500ms", "1s", "1s", "2s", "2s"])]
    if kind < 0.7:
        return ["--after", one.chance.choice(["300ms", "1s"])]
    if kind < 0.85:
        return ["--cron", one.chance.choice(["* * * * * *", "*/2 * * * * *"])]
    return ["--once"]


def arguments_of(one: Draw) -> dict[str, Any]:
    """The arguments of the witness's task (see witness.py)."""
    how = one.chance.choices(["print", "logging", "child", "raw", "partial"], [8, 4, 1, 4, 4])[0]
    return quiet(
        say=one.chance.choice([0, 1, 2]) if how == "child" else one.chance.choice([0, 0, 1, 1, 3, 50]),
        how=how,
        seconds=one.chance.choices([0, 0.005, 0.05, 0.6], [12, 4, 4, 1])[0],
        fails=one.chance.choice([0, 0, 0, 1, 2, 9]),
        end=one.chance.choices(["return", "raise", "exit", "kill"], [20, 10, 1, 1])[0],
        value=one.chance.choice([None, 1, "text", {"a": [1, 2]}]),
    )


def quiet(**given: Any) -> dict[str, Any]:
    return QUIET | given | {MARK: 0}


def any_steps(one: Draw, jobs: Sequence[JobPlan], pace: float) -> list[Step]:
    """Commands of all kinds, `pace` of them per second."""
    steps: list[Step] = []
    for _ in range(int(one.seconds * pace)):
        at, job = one.moment(), one.chance.choice(jobs)
        kind = one.chance.choices(list(LIKELY), list(LIKELY.values()))[0]
        steps.append(step_of(one, at, kind, job))
        if kind in UNDO:
            steps.append(step_of(one, at + one.chance.uniform(0.2, 4), one.chance.choice(UNDO[kind]), job))
        if kind == "bad code":
            steps.append(Step(round(at + 3, 3), "new code", node=steps[-1].node))
    return steps


def step_of(one: Draw, at: float, what: str, job: JobPlan) -> Step:
    at = round(at, 3)
    if what in OF_A_NODE:
        return Step(at, what, node=one.chance.randrange(one.nodes))
    if what == "look":
        of_job = (("show", job.name, "--json"), ("logs", job.name), ("history", job.name), ("next", job.name))
        return Step(at, what, words=one.chance.choice([*LOOKS, *of_job]))
    if what == "away":
        return Step(at, what, words=("1.5",))
    return Step(at, what, job.name, tuple(_changes(one, job)) if what == "set" else ())


def _changes(one: Draw, job: JobPlan) -> list[str]:
    schedules = [
        ["--every", one.chance.choice(["200ms", "700ms"])],
        ["--every", "1h"],
        ["--cron", "*/2 * * * * *"],
        ["--after", "400ms"],
        ["--cron", "0 0 1 1 *"],
        ["--at", "2100-01-01T00:00"],
    ]
    others = [
        ["--retry", one.chance.choice(["0", "2"])],
        ["--timeout", one.chance.choice(["none", "500ms"])],
        ["--priority", one.chance.choice(["-1", "1"])],
        ["--backoff", "100ms"],
        ["--arg", "say=2"],
        ["--arg", "fails=1"],
    ]
    return one.chance.choice(one.chance.choice([schedules, others, others]) if not job.parents() else others)
