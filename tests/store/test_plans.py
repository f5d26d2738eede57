"""No statement of jobd reads a whole large table: each one is run and measured, on each database."""

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from jobd.claim import ClaimUpdate, OutputPart
from jobd.clock import DAY, HOUR, SECOND
from jobd.dependency import Dependency
from jobd.engine import changes, full_pass, missing_schedules, takeover
from jobd.engine.cycle import CycleInput, run_cycle
from jobd.engine.demand import Capacity
from jobd.engine.full_pass import FullPass
from jobd.engine.messages import RunStarted
from jobd.job import PLAIN, Job, Run
from jobd.store import definitions, nodes, prune, reads, requests, slices
from jobd.store import schedule_table as table
from jobd.store.connect import dialect_of
from jobd.store.reads import Reader
from jobd.store.store import Session, Store
from jobd.store.url import parse_url
from tests import servers
from tests.engine.harness import settings
from tests.store import filling
from tests.store.filling import DEAD, LIVE, NOW, Size
from tests.store.meter import Meter, Statement, metered

# A tenth of a million jobs, and all that is done at once is a tenth of what it is: so a planner weighs the same.
SHARE = 10
SIZE = Size(jobs=1_000_000 // SHARE, runs=4)
CLAIMS = 50
NONE = Capacity(1, 1, 0, 0)
FREE, EACH = 2_500, 12  # rows that a statement may read: so many, and so many more for each that it gives or changes
FREE_STEPS, EACH_STEPS = 15_000, 600  # the same in steps of SQLite's machine
SETTINGS = settings(Path("/nowhere"), poll=SECOND)._replace(lease=30 * SECOND)

# What reads a whole table by its nature, and why that may be.
WHOLE = {
    "SELECT job_id, on_job_id FROM job_dependency": "a circle of jobs that wait for each other can be anywhere",
}


def work(**more: Any) -> CycleInput:
    empty: dict[str, Any] = {
        "updates": [],
        "starts_to_record": [],
        "printed": [],
        "held": {},
        "known_starts": {},
        "capacities": {},
    }
    flags: dict[str, Any] = {
        "beat": False,
        "read_peers": True,
        "find_unregistered": True,
        "full_pass": None,
        "pools": None,
        "shares": {},
    }
    flags["priorities"] = {"default": (0,)}
    moments = {"wall": NOW, "claim_by": NOW + SECOND, "urgent_by": NOW + SECOND, "last_call_by": NOW}
    return CycleInput(node=LIVE, **{**moments, **empty, **flags, **more})


def a_daemons_life(store: Store) -> None:
    """All that a keeper does in the database."""
    store.transact(lambda s: nodes.register(s, "host", 1, "1", "instance", NOW))
    (dead,) = [takeover.DeadNode(row, "it died") for row in store.transact(nodes.live) if row.id == DEAD]
    (lost,) = store.transact(takeover.unregistered_nodes)
    assert store.transact(lambda s: takeover.release_dead(s, lost, {}, NOW, SETTINGS)) is not None
    assert store.transact(lambda s: takeover.release_dead(s, dead, {}, NOW, SETTINGS)) is not None
    assert store.transact(lambda s: full_pass.clock_set_back_by(s, lambda: NOW, "instance")) == 0
    for at in (0, SIZE.jobs // 2, SIZE.jobs - 3 * CLAIMS):
        whole = FullPass(starting=True, wake=True, put_back=HOUR, after=at)
        store.transact(partial(run_cycle, work=work(full_pass=whole), settings=SETTINGS))
        end = at + missing_schedules.JOBS_PER_SLICE // SHARE
        assert store.transact(partial(slices.jobs_without_schedule, after=at, until=end)) == []
        assert store.transact(partial(slices.jobs_with_outdated_schedule, after=at, until=end, zone="UTC")) == []
    urgent = Capacity(0, 0, CLAIMS, CLAIMS, overtaking=5, priority=-1)
    assert len(store.transact(lambda s: run_cycle(s, work(capacities={"default": urgent}), SETTINGS)).claims) == 5
    for _ in range(12):  # PostgreSQL plans a statement that it has seen so often without its parameters, if it likes
        done = store.transact(
            lambda s: run_cycle(
                s, work(beat=True, capacities={"default": Capacity(CLAIMS, CLAIMS, 0, 0), "none": NONE}), SETTINGS
            )
        )
        assert len(done.claims) == CLAIMS
        states = [claim.state for claim in done.claims]
        began = [RunStarted(state.job_id, state.token, NOW, before_start=False) for state in states]
        printed = [OutputPart(state.job_id, state.number, 1, 0, "x") for state in states]
        writes = work(starts_to_record=began, printed=printed)
        store.transact(partial(run_cycle, work=writes, settings=SETTINGS))
        ends = [
            ClaimUpdate(
                LIVE,
                state.token,
                state._replace(node=0, ready=NOW + DAY, due=NOW + DAY, number=state.number + 1, started=None),
                Run(state.job_id, state.number, NOW, NOW, NOW, 1, "succeeded", LIVE),
                (OutputPart(state.job_id, state.number, 1, 1, "y", 1),),
            )
            for state in states
        ]
        assert len(store.transact(partial(table.record, updates=ends, now=NOW))) == CLAIMS
        store.transact(partial(table.block, one=ends[0], reason="bad"))
    store.transact(lambda s: nodes.leave(s, LIVE, NOW))


def housekeeping(store: Store) -> None:
    """Runs are forgotten, by age and by number."""
    for low in range(1, 1_200, 100):
        surplus = dict.fromkeys(range(low, low + 100), 2)
        assert store.transact(partial(prune.prune, before=filling.when(SIZE, 0, 1), surplus=surplus, limit=400)) == 400


def others_become_due(session: Session, after: int, due: int) -> None:
    """A run ends that another job waits for."""
    state = table.states_for_update(session, [after])[after]
    run = Run(after, state.number, NOW, NOW, NOW, 1, "succeeded", LIVE)
    done = state._replace(number=state.number + 1)
    assert table.record(session, [ClaimUpdate(0, state.token, done, run, ())], NOW) == {after}
    assert table.states_for_update(session, [due])[due].due == NOW


def commands_of_a_day(store: Store) -> None:
    """All that the command line changes."""
    new = [Job("new", "1h"), Job("other", options=PLAIN._replace(task="noop", after_jobs=(Dependency("new"),)))]
    ids = definitions.add(store, new, NOW, "UTC")
    store.transact(partial(others_become_due, after=ids[0], due=ids[1]))
    definitions.change(store, "77", lambda job: job._replace(interval="2h"), NOW, "UTC")
    definitions.set_paused(store, ["78"], True, NOW, "UTC")
    definitions.delete(store, ["78"], NOW, "UTC")
    definitions.restore(store, ["78"], NOW, "UTC")
    requests.request_run(store, "79", NOW, "UTC")
    with pytest.raises(Exception, match="not running"):
        requests.request_cancel(store, "79", NOW)
    with pytest.raises(Exception, match="no job named"):
        definitions.delete(store, ["nobody"], NOW, "UTC")

    def by_hand(session: Session) -> None:
        session.execute("INSERT INTO job (name) VALUES ('by hand')")
        session.execute("UPDATE job SET retry_times = 1 WHERE id = 80")
        session.execute("DELETE FROM job WHERE id = 81")

    store.transact(by_hand)


def looking(reader: Reader) -> None:
    """All that the command line reads, a page of each list."""
    for _ in range(12):
        assert len(list(islice(reader.jobs(deleted=False), 250))) == 250
        assert len(list(islice(reader.jobs(deleted=True), 150))) == 150
        assert len(list(islice(reader.runs(None), 250))) == 250
        overview = reader.job("100")
        assert len(list(reader.runs(overview.job.id))) == SIZE.runs
        assert reader.run(overview.job.id, 3) is not None
        assert reader.last_output(overview.job.id) == SIZE.runs
        assert len(list(reader.output(overview.job.id, (0, 0, -1)))) == 1
        assert len(list(reader.output(overview.job.id, (0, 0, -1), SIZE.runs))) == 1
        assert len(reader.names("10", 200)) == 200
        assert reader.nodes()
        with pytest.raises(Exception, match="no job named"):
            reader.job("nobody")


@pytest.fixture(params=servers.KINDS)
def large(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with large tables; SQLite does not know how large they are."""
    kind = request.param
    url: str = servers.sqlite_url(tmp_path) if kind == "sqlite" else request.getfixturevalue(kind).new_database()
    store = Store(parse_url(url))
    filling.fill(store, SIZE)
    if kind != "sqlite":
        filling.analyze(store)
    store.close()
    return url


@pytest.fixture
def meters(large: str, monkeypatch: pytest.MonkeyPatch) -> list[Meter]:
    found: list[Meter] = []
    kind = type(dialect_of(parse_url(large)))
    monkeypatch.setattr(kind, "connect", metered(kind, found))
    return found


def test_no_statement_reads_a_whole_table(large: str, meters: list[Meter], monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((full_pass, "JOBS_PER_SLICE"), (reads, "PAGE"), (changes, "MAX_CHANGES")):
        monkeypatch.setattr(module, name, getattr(module, name) // SHARE)
    store, reader = Store(parse_url(large)), Reader(parse_url(large))
    looking(reader)
    a_daemons_life(store)
    housekeeping(store)
    commands_of_a_day(store)
    reader.close()
    store.close()
    statements = [one for meter in meters for one in meter.statements]
    assert len(statements) > 300
    free, each = (FREE_STEPS, EACH_STEPS) if store.target.kind == "sqlite" else (FREE, EACH)
    bad = {one.sql: one for one in statements if is_bad(one, free, each)}
    assert not bad, "\n\n".join(describe(one) for one in bad.values())


def test_a_slice_is_read_once_after_a_burst_of_changes(large: str, meters: list[Meter]) -> None:
    """PostgreSQL reads a table of one row whole, again for each row that it joins, and goes on so with a hundred."""
    recorded = "INSERT INTO job_change (job_id, what) SELECT id, 'clock' FROM job WHERE id > ? AND id <= ?"
    store = Store(parse_url(large))
    store.transact(lambda s: s.execute("DELETE FROM job_change"))
    store.transact(lambda s: s.execute(recorded, (1_000, 1_001)))
    if store.target.kind != "sqlite":
        filling.analyze(store)
    store.transact(lambda s: s.execute(recorded, (1_001, 1_100)))
    assert store.transact(partial(slices.jobs_with_outdated_schedule, after=0, until=500, zone="UTC")) == []
    store.close()
    free, each = (FREE_STEPS, EACH_STEPS) if store.target.kind == "sqlite" else (FREE, EACH)
    bad = [one for meter in meters for one in meter.statements if "basis" in one.sql and is_bad(one, free, each)]
    assert not bad, "\n\n".join(map(describe, bad))


def is_bad(one: Statement, free: int, each: int) -> bool:
    return not any(map(one.sql.startswith, WHOLE)) and one.read > free + each * one.rows


def describe(one: Statement) -> str:
    return f"{one.sql[:2_000]}\nreads {one.read} for {one.rows} rows; its plan:\n{one.plan[:4_000]}"
