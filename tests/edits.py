"""Commands of one person about a few jobs, and the state of these jobs after each command.

Names do not repeat between persons, so the jobs of each can be checked alone although many work at the same time.
"""

from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import Any, NamedTuple

from jobd.job import DEFAULT_POOL, Job, Options, without_zone
from jobd.store import rows

JOBS_EACH = 3
STORED = (
    f"SELECT {rows.columns('job', rows.JOB)}, {rows.columns('job_options', rows.OPTIONS)},"
    f" {rows.columns('schedule', rows.SCHEDULE)} FROM job"
    " LEFT JOIN job_options ON job_options.job_id = job.id LEFT JOIN schedule ON schedule.job_id = job.id"
)  # one statement, so that what it shows is of one moment
Jobs = Mapping[str, Job]


class Edit(NamedTuple):
    """A command, and what its person's jobs are when it is done."""

    words: tuple[str, ...]
    after: Jobs


def edits(author: str, seed: int) -> Iterator[Edit]:
    """What this person types, without end; the same for the same seed."""
    random = Random(f"{seed} {author}")
    jobs: dict[str, Job] = {}
    names = [f"{author}-{number}" for number in range(JOBS_EACH)]
    words: tuple[str, ...]
    while True:
        live = [name for name in names if name in jobs and not jobs[name].deleted]
        name = random.choice(names)
        several = random.sample(live, random.randint(1, len(live))) if live else []
        if name not in live and name in jobs and random.random() < 0.3:
            words, changed = ("restore", name), [jobs[name]._replace(deleted=False)]
        elif name not in live:
            words, changed = _added(name, random)
        else:
            verb = random.choice(("set", "set", "set", "rm", "pause", "resume"))
            words = (verb, *several)
            if verb == "set":
                words, changed = _set(jobs[name], random)
            elif verb == "rm":
                changed = [jobs[one]._replace(deleted=True) for one in several]
            else:
                changed = [_with(jobs[one], paused=verb == "pause") for one in several]
        jobs |= {job.name: job for job in changed}
        yield Edit(words, dict(jobs))


def stored(found: Iterable[tuple[Any, ...]]) -> dict[str, Job]:
    """The jobs that `STORED` shows; a partial change shows in one of them."""
    jobs = {}
    for row in found:
        definition, plan_row = row[: -len(rows.SCHEDULE)], row[-len(rows.SCHEDULE) :]
        job, problem = rows.read_job(definition)
        assert job is not None, row
        assert problem is None, (job.name, problem)
        assert plan_row[0] == job.id, f"{job.name} has no row in the table `schedule`"
        state = rows.read_state(plan_row)
        assert without_zone(state.fingerprint) == job.fingerprint, job.name
        assert state.pool == (job.options.pool or DEFAULT_POOL), job.name
        assert (state.ready is None) == (job.deleted or job.options.paused), job.name
        jobs[job.name] = job._replace(id=0, created=0, updated=0, last_finished=None)
    return jobs


def judge(found: Jobs, author: str, seed: int, acknowledged: int) -> None:
    """So many edits were acknowledged: all of them are there, and of the next one all or nothing."""
    ours = {name: job for name, job in found.items() if name.startswith(f"{author}-")}
    before: Jobs = {}
    for number, edit in enumerate(edits(author, seed)):
        if number == acknowledged:
            assert ours in (before, edit.after), f"{author} after {acknowledged} edits, perhaps with {edit.words}"
            return
        before = edit.after


def _added(name: str, random: Random) -> tuple[tuple[str, ...], list[Job]]:
    interval, number, retry = f"{random.randint(1, 99)}h", random.randint(0, 999), random.randint(0, 9)
    words = ["add", name, "--every", interval, "--retry", str(retry), "--task", "t", "--arg", f"n={number}", "--force"]
    pool = random.choice((None, "big"))
    words += [] if pool is None else ["--pool", pool]
    return tuple(words), [Job(name, interval, False, retry, Options(task="t", args={"n": number}, pool=pool))]


def _set(job: Job, random: Random) -> tuple[tuple[str, ...], list[Job]]:
    interval, number, retry = f"{random.randint(1, 99)}h", random.randint(0, 999), random.randint(0, 9)
    words = ("set", job.name, "--every", interval, "--retry", str(retry), "--arg", f"n={number}")
    return words, [_with(job, args={"n": number})._replace(interval=interval, retry_times=retry)]


def _with(job: Job, **options: Any) -> Job:
    return job._replace(options=job.options._replace(**options))
