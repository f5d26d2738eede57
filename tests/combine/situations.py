"""Situations: the conditions in which a kind of fault shows. The seed chooses one, and its details.

Examples: all workers are busy; runs are retried many times; the database is unavailable while tasks print much. All
situations share the same options, tasks and commands.
"""

from collections.abc import Callable

from tests.combine.drawing import (
    LEAVINGS,
    LOOKS,
    PROGRAMS,
    UNDO,
    Draw,
    any_job,
    any_steps,
    arguments_of,
    quiet,
    step_of,
)
from tests.combine.scenario import TOGETHER, JobPlan, Scenario, Step

Jobs = list[JobPlan]
Steps = list[Step]


def draw(seed: int, seconds: float, shared: bool) -> Scenario:
    """The scenario of a seed. `shared`: the database is a server, which several nodes may use and which may fail."""
    one = Draw(seed, seconds, shared)
    kind = one.chance.choices(list(SITUATIONS), [weight for weight, _ in SITUATIONS.values()])[0]
    jobs, steps = SITUATIONS[kind][1](one)
    steps.sort(key=lambda step: step.at)
    return Scenario(seed, kind, seconds, tuple(one.clocks), one.workers, tuple(jobs), tuple(steps))


# Situations


def _mixed(one: Draw) -> tuple[Jobs, Steps]:
    """Jobs with any options, and commands of any kind."""
    jobs = [any_job(one, number) for number in one.some(3, 18)]
    return jobs, any_steps(one, jobs, one.chance.choice([0.5, 1.0, 2.0]))


def _short(one: Draw) -> tuple[Jobs, Steps]:
    """Many short runs at the same time, so that workers prefetch them."""
    jobs = []
    for number in one.some(40, 80):
        words = ["--every", one.chance.choice(["1s", "1s", "500ms", "2s"]), "--task", "act"]
        words += one.chance.choice([[], ["--retry", "2"]])
        arguments = arguments_of(one) | {"say": one.chance.choice([0, 1, 1, 2]), "seconds": 0}
        arguments["end"] = one.chance.choices(["return", "raise", "exit"], [60, 30, 1])[0]
        arguments["how"] = one.chance.choices(["print", "raw", "partial", "logging"], [10, 5, 2, 5])[0]
        jobs.append(JobPlan(f"short-{number}", tuple(words), arguments))
    return jobs, any_steps(one, jobs, one.chance.choice([0.5, 1.0]))


def _busy(one: Draw) -> tuple[Jobs, Steps]:
    """All workers are in long runs while a user changes the jobs that wait."""
    one.workers, one.nodes = 1, 1
    one.clocks = [0.0]
    jobs = [JobPlan("long", ("--after", "100ms", "--task", "act"), quiet(seconds=one.chance.choice([0.7, 1.2])))]
    slow = (
        ["--every", "1h"],
        ["--cron", "0 0 1 1 *"],
        ["--every", "1s"],
        ["--every", "4s"],
        ["--cron", "*/3 * * * * *"],
    )
    for number in one.some(3, 5):
        words = [*one.chance.choice(slow), "--task", "act", *one.chance.choice([[], ["--catch-up", "all"]])]
        jobs.append(JobPlan(one.name(number), tuple(words), quiet(say=1)))
    changes = [
        ["run", "pause", "resume"], ["run", "rm", "restore"], ["run", "set"], ["run", "set"], ["pause", "run", "set"],
        ["run --wait", "rm"], ["run --wait", "rm"], ["run --wait", "rm", "restore"], ["run --wait", "set"],
        ["run", "rename"], ["run", "rm", "add again"], ["run", "cancel"], ["pause", "run", "resume"],
        ["run", "run", "pause", "resume"],
    ]  # fmt: skip
    steps: Steps = []
    for job in jobs[1:]:
        at = one.moment(8)
        while at < one.seconds - 3:
            for what in one.chance.choice(changes):
                steps.append(step_of(one, at, what, job))
                at += one.chance.uniform(0.05, 0.4)
            if steps[-1].what in ("pause", "set") and _is_paused(steps, job.name):
                steps.append(Step(round(at + 2, 3), "resume", job.name))
            at += one.chance.uniform(3, 5)
    return jobs, steps


def _is_paused(steps: Steps, job: str) -> bool:
    last = [step.what for step in steps if step.job == job and step.what in ("pause", "resume", "restore", "add again")]
    return last[-1:] == ["pause"]


def _stubborn(one: Draw) -> tuple[Jobs, Steps]:
    """Runs that fail and are retried, immediately or later, while they are changed, cancelled and removed."""
    one.workers = one.chance.choice([2, 3])
    jobs = []
    for number in one.some(3, 6):
        words, seconds = one.chance.choice(
            [
                (["--retry", "60"], 0.3),
                (["--retry", "100000"], 0.004),
                (["--retry", "20", "--timeout", "700ms"], 2),
                (["--retry", "9", "--backoff", "1s", "--backoff-max", "2s"], 0),
                (["--retry", "9", "--backoff", "1500ms", "--backoff-max", "1500ms"], 0.05),
            ]
        )
        schedule = one.chance.choice([["--every", "2s"], ["--every", "30s"], ["--cron", "*/5 * * * * *"]])
        arguments = quiet(seconds=seconds, fails=10**9, end="raise", say=1 if seconds > 0.1 else 0)
        jobs.append(JobPlan(one.name(number), (*schedule, "--task", "act", *words), arguments))
    steps: Steps = []
    for job in jobs:
        at = one.moment(12)
        while at < one.seconds - 5:
            what = one.chance.choices(
                ["cancel", "set", "pause", "rm", "sql delete", "sql interval", "sql retry", "run", "rename"],
                [6, 5, 2, 2, 1, 1, 1, 2, 1],
            )[0]
            steps.append(step_of(one, at, what, job))
            at += one.chance.uniform(0.5, 2) if what == "cancel" else one.chance.uniform(3.5, 5)
            if what in UNDO:
                steps.append(step_of(one, at, one.chance.choice(UNDO[what]), job))
                at += one.chance.uniform(0.5, 2)
    return jobs, steps


def _urgent(one: Draw) -> tuple[Jobs, Steps]:
    """Hundreds of jobs are due at once, and a few of them, or some that are due a little later, are urgent."""
    one.workers, one.nodes, one.clocks = 1, 1, [0.0]
    jobs = [
        JobPlan(f"many-{number}", (TOGETHER, "1", "--task", "act"), quiet(seconds=0.02))
        for number in one.some(300, 400)
    ]
    late = one.chance.choice(["1", "1.5"])
    for number in one.some(5, 20):
        words = (TOGETHER, late, "--priority", one.chance.choice(["5", "50"]), "--task", "act")
        jobs.append(JobPlan(f"urgent-{number}", words, quiet()))
    return jobs, []


def _behind(one: Draw) -> tuple[Jobs, Steps]:
    """Due times that are missed: the daemons are down for a while, and some intervals are shorter than any run."""
    jobs = []
    for number in one.some(2, 4):
        every = one.chance.choice(["10ms", "10ms", "50ms", "300ms", "1s"])
        catch_up = one.chance.choice(["all", "all", "once", "none"])
        words = ("--every", every, "--catch-up", catch_up, "--task", "act")
        jobs.append(JobPlan(one.name(number), words, quiet(seconds=one.chance.choice([0, 0, 0.01]))))
    long = one.chance.choice([2.0, 6.0, 11.0, 12.0])
    at = one.chance.uniform(1, max(2.0, one.seconds - long - 4))
    steps = [Step(round(at, 3), "down", node=node, words=(str(long),)) for node in range(one.nodes)]
    steps += [
        step_of(one, one.moment(), one.chance.choice(["run", "pause", "set"]), one.chance.choice(jobs))
        for _ in one.some(0, 2)
    ]
    steps += [Step(step.at + 1.5, "resume", step.job) for step in steps if step.what == "pause"]
    return jobs, steps


def _flood(one: Draw) -> tuple[Jobs, Steps]:
    """The database is unavailable while tasks print as much as jobd keeps of a run."""
    one.workers, one.nodes, one.clocks = 3, 1, [0.0]
    words = (TOGETHER, "2", "--retry", "150", "--task", "act")
    arguments = quiet(say=4, pad=14_000, fails=10**9, end="raise", how="raw")
    jobs = [JobPlan(one.name(number), words, arguments) for number in one.some(10, 12)]
    jobs.append(JobPlan("small", ("--every", "500ms", "--task", "act"), quiet(say=1)))
    return jobs, [Step(3.0, "away", words=(str(one.chance.choice([7, 9])),))]


def _dirty(one: Draw) -> tuple[Jobs, Steps]:
    """Some tasks change their process, and others check that they find none of the changes."""
    one.workers = one.chance.choice([1, 2])
    jobs = []
    for number in one.some(4, 9):
        leaves = one.chance.choice(["", "", *LEAVINGS])
        isolation = one.chance.choices([[], ["--isolation", "fresh"], ["--isolation", "fork"]], [8, 1, 1])[0]
        words = [
            "--every",
            "2s" if isolation else one.chance.choice(["300ms", "1s", "2s"]),
            "--task",
            "act",
            *isolation,
        ]
        jobs.append(
            JobPlan(
                one.name(number), tuple(words), arguments_of(one) | {"leaves": leaves, "seconds": 0, "end": "return"}
            )
        )
    return jobs, any_steps(one, jobs, 0.3)


def _after(one: Draw) -> tuple[Jobs, Steps]:
    """Jobs that run after one or two others, and are paused while these continue."""
    parents = [
        JobPlan(f"parent-{number}", ("--every", one.chance.choice(["1s", "3s", "5s"]), "--task", "act"), quiet())
        for number in range(3)
    ]
    children = []
    for number in one.some(2, 5):
        after = one.chance.sample([job.name for job in parents], one.chance.choice([1, 1, 2]))
        words = [word for name in after for word in ("--after-job", name)]
        children.append(
            JobPlan(f"child-{number}", (*words, "--task", "act"), quiet(seconds=one.chance.choice([0, 0.2])))
        )
    steps: Steps = []
    for job in children:
        if one.chance.random() < 0.8:
            what, at = one.chance.choice(["pause", "rm", "sql delete"]), one.moment(8)
            steps.append(Step(at, what, job.name))
            steps.append(Step(round(at + one.chance.uniform(1, 4), 3), UNDO[what][0], job.name))
            for parent in (
                job.parents() if one.chance.random() < 0.6 else ()
            ):  # while it is paused, only stored successes count
                steps.append(Step(round(at + 0.9, 3), "pause", parent))
    return parents + children, steps


def _odd(one: Draw) -> tuple[Jobs, Steps]:
    """Times beyond all calendars, other time zones, programs, imports that fail, nodes whose clocks differ."""
    jobs = [JobPlan("far", ("--every", "520w", "--start", "9995-01-01T00:00", "--task", "act"), quiet())]
    for number in one.some(1, 3):
        cron = f"{one.chance.randrange(60)} {one.chance.randrange(24)} * * *"
        jobs.append(JobPlan(f"daily-{number}", ("--cron", cron, "--task", "act"), quiet()))
    jobs.extend(
        JobPlan(f"program-{number}", ("--every", "2s", "--", *one.chance.choice(PROGRAMS)), {})
        for number in one.some(3, 5)
    )
    for number in one.some(1, 2):
        words = ("--every", "2s", "--task", "act", *one.chance.choice([[], ["--retry", "1"]]))
        jobs.append(JobPlan(f"broken-{number}", ("--every", "1s", "--task", "deep.broken:act"), {}))
        jobs.append(JobPlan(one.name(number), words, arguments_of(one)))
    jobs.extend(
        JobPlan(f"tick-{number}", ("--every", one.chance.choice(["300ms", "1s"]), "--task", "act"), quiet())
        for number in one.some(1, 3)
    )
    if one.shared and one.chance.random() < 0.5:
        one.nodes, one.clocks = 2, [0.0, one.chance.choice([-2.0, 2.0])]
    ticks = [job for job in jobs if job.name.startswith("tick")]
    steps = any_steps(one, ticks, 0.3)
    for _ in one.some(2, 6):
        steps.append(Step(one.moment(), "look", words=one.chance.choice([*LOOKS, ("show", "far"), ("next", "far")])))
    for job in ticks:
        at = one.moment(10)
        steps += [Step(at, "run --wait", job.name), Step(round(at + 0.05, 3), "rm", job.name)]
    steps += [Step(one.moment(4), "restart", node=node) for node in range(one.nodes) if one.chance.random() < 0.6]
    return jobs, steps


SITUATIONS: dict[str, tuple[float, Callable[[Draw], tuple[Jobs, Steps]]]] = {
    "mixed": (3, _mixed),
    "short": (1, _short),
    "busy": (2, _busy),
    "stubborn": (2, _stubborn),
    "urgent": (0.7, _urgent),
    "behind": (0.8, _behind),
    "flood": (0.7, _flood),
    "dirty": (1.5, _dirty),
    "after": (1.2, _after),
    "odd": (1.5, _odd),
}
