"""Claims, fencing and claim updates: the same promises on every database."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from jobd.claim import ClaimUpdate, OutputPart
from jobd.job import JobState, Run
from jobd.store import nodes, output, prune
from jobd.store import schedule_table as table
from jobd.store import store as store_module
from jobd.store.dialect import Upsert
from jobd.store.rows import RUN
from jobd.store.schedule_table import Claimed
from jobd.store.store import Session, Store
from jobd.store.url import parse_url

SOON = 1_000
FOLLOWING = JobState(0, 50, 60, number=2, anchor=40, pool="odd", fingerprint="the basis")


def make_jobs(store: Store, count: int, ready: int = 10, **state: Any) -> list[int]:
    """Jobs that are all ready at `ready`; their ids."""

    def work(session: Session) -> list[int]:
        session.write_rows("job", ("name", "runonce"), [(f"job{number}", 1) for number in range(count)])
        ids = [row[0] for row in session.rows("SELECT id FROM job ORDER BY id")]
        states = [JobState(job_id, due=ready, ready=ready, anchor=ready) for job_id in ids]
        table.save_states(session, [one._replace(**state) for one in states])
        session.dialect.drop_seen_changes(session, ids)
        return ids

    return store.transact(work)


def claim(store: Store, node: int = 1, limit: int = 100, until: int = SOON) -> list[Claimed]:
    return store.transact(lambda session: table.claim(session, node, "default", until, limit))


def earliest(session: Session, pool: str = "default", excluded: table.Excluded = table.NONE_EXCLUDED) -> int | None:
    firsts = table.first_ready(session, pool, excluded=excluded).values()
    return min((moment for moment in firsts if moment is not None), default=None)


def run_of(state: JobState, outcome: str = "succeeded") -> Run:
    return Run(state.job_id, state.number, state.due or 0, 20, 30, 1, outcome, state.node)


def finish(store: Store, state: JobState, /, **change: Any) -> set[int]:
    done = state._replace(node=0, due=None, ready=None, number=state.number + 1)
    update = ClaimUpdate(state.node, state.token, done, run_of(state), ())._replace(**change)
    return store.transact(lambda session: table.record(session, [update], SOON))


def after_change(store: Store, job_id: int) -> JobState:
    (loaded,) = store.transact(lambda session: table.load_for_update(session, [job_id]))
    assert loaded.state is not None
    return loaded.state


def test_a_claim_takes_ready_jobs_oldest_first_and_no_more_than_requested(store: Store) -> None:
    ids = make_jobs(store, 5)
    store.transact(
        lambda s: table.save_states(s, [JobState(job_id, due=9 - n, ready=9 - n) for n, job_id in enumerate(ids)])
    )
    assert [one.state.job_id for one in claim(store, limit=2)] == [ids[4], ids[3]]
    assert [one.state.job_id for one in claim(store, until=8)] == [ids[2], ids[1]]


def test_a_claim_takes_the_highest_priority_first_then_the_oldest(store: Store) -> None:
    ids = make_jobs(store, 8)
    priorities = (0, -3, 7, 0, 7, -3, 0, 9)
    moments = (5, 1, 9, 4, 8, 2, SOON + 1, SOON + 1)
    states = [
        JobState(job_id, due=ready, ready=ready, priority=priority)
        for job_id, ready, priority in zip(ids, moments, priorities, strict=True)
    ]
    store.transact(lambda session: table.save_states(session, states))
    taken = [ids[number] for number in (4, 2, 3, 0, 1, 5)]
    assert [one.state.job_id for one in claim(store, limit=3)] == taken[:3]
    assert [one.state.job_id for one in claim(store)] == taken[3:]
    assert after_change(store, ids[2]).priority == 7


@pytest.mark.parametrize("known", [(), (0,), (100,), (7, 0, -3), (8, 7, 1, 0, -3, -9), (-100,)])
def test_the_first_ready_job_of_each_priority_is_found_after_any_earlier_jobs(
    store: Store, known: tuple[int, ...]
) -> None:
    ids = make_jobs(store, 6)
    states = [
        JobState(ids[0], due=9, ready=9, priority=7),
        JobState(ids[1], due=8, ready=8, priority=7),
        JobState(ids[2], due=3, ready=None, priority=1),
        JobState(ids[3], due=5, ready=5),
        JobState(ids[4], due=1, ready=1, priority=-3),
        JobState(ids[5], due=1, ready=1, priority=50, pool="other"),
    ]
    store.transact(lambda session: table.save_states(session, states))

    def found(pool: str) -> list[tuple[int, int | None]]:
        firsts = store.transact(lambda session: table.first_ready(session, pool, known))
        assert {*known} <= {*firsts}, "what comes and goes is not looked for each time"
        assert [*firsts] == sorted(firsts, reverse=True)
        return [(priority, ready) for priority, ready in firsts.items() if ready is not None]

    assert found("default") == [(7, 8), (0, 5), (-3, 1)]
    assert found("other") == [(50, 1)]
    assert found("none") == []


def test_the_number_of_priorities_written_with_sql_is_bounded(store: Store) -> None:
    """Or a statement would become too long for any database, and none would claim any more."""
    make_jobs(store, 300)
    store.transact(lambda session: session.execute("UPDATE schedule SET priority = job_id * 5 - 700") and None)
    firsts = store.transact(lambda session: table.first_ready(session, "default"))
    assert [priority for priority, ready in firsts.items() if ready is not None] == list(range(100, -101, -5))
    assert len(claim(store, limit=500)) == 41


def test_claims_consider_jobs_of_every_priority(store: Store) -> None:
    ids = make_jobs(store, 9)
    states = [JobState(job_id, due=10, ready=10, priority=number % 3) for number, job_id in enumerate(ids)]
    store.transact(lambda session: table.save_states(session, states))

    def in_play(most: int) -> int:
        return store.transact(lambda session: table.claimed_or_ready(session, "default", [1], SOON, most, (2, 1, 0)))

    assert in_play(100) == 9
    assert in_play(4) == 4
    claim(store, limit=2)
    assert in_play(100) == 9


def test_the_time_at_which_enough_jobs_are_ready_counts_every_priority(store: Store) -> None:
    ids = make_jobs(store, 6)
    states = [JobState(job_id, due=n, ready=10 * n, priority=n % 2) for n, job_id in enumerate(ids, 1)]
    store.transact(lambda session: table.save_states(session, states))

    def by(until: int, count: int) -> int:
        firsts = {1: 10, 0: 20, -1: None}
        return store.transact(lambda session: table.ready_by(session, "default", firsts, until, count))

    assert [by(100, count) for count in (1, 3, 6, 7)] == [10, 30, 60, 100]
    assert [by(35, count) for count in (2, 3, 4)] == [20, 30, 35]
    assert by(15, 2) == 15


def test_a_claim_skips_jobs_that_this_node_leaves_to_others_until_no_node_takes_them(store: Store) -> None:
    ids = make_jobs(store, 3)
    store.transact(lambda session: session.execute("UPDATE schedule SET error = 'unknown task'") and None)

    def work(session: Session) -> tuple[list[int], int | None]:
        excluded = table.Excluded(dict.fromkeys(ids[:2], 1), before=9)
        claimed = table.claim(session, 1, "default", SOON, 10, excluded)
        return [one.state.job_id for one in claimed], earliest(session, excluded=excluded)

    assert store.transact(work) == ([ids[2]], None)
    sql = "UPDATE schedule SET ready_time = 9 WHERE job_id = ?"
    store.transact(lambda session: session.execute(sql, (ids[0],)) and None)
    assert store.transact(work) == ([ids[0]], None)


@pytest.mark.parametrize("unlike", ["error = 'unknown task'", "token = token + 1"])
def test_a_claim_takes_a_job_that_this_node_gave_back_when_its_error_has_ended_and_no_node_has_claimed_it(
    store: Store, unlike: str
) -> None:
    ids = make_jobs(store, 3)
    first = {one.state.job_id: one.state.token for one in claim(store, node=1)}
    store.transact(lambda session: session.execute("UPDATE schedule SET node_id = 0") and None)
    store.transact(lambda session: session.execute(f"UPDATE schedule SET {unlike} WHERE job_id = {ids[1]}") and None)

    def work(session: Session) -> list[int]:
        return [one.state.job_id for one in table.claim(session, 1, "default", SOON, 10, table.Excluded(first))]

    assert sorted(store.transact(work)) == [ids[0], ids[2]]


@pytest.mark.parametrize("token", [1_800_000_000_000_000, 1, 2**63 - 1])
def test_a_claim_takes_a_job_that_this_node_gave_back_when_its_row_was_recreated(store: Store, token: int) -> None:
    make_jobs(store, 1, token=5_000)
    excluded = table.Excluded({one.state.job_id: one.state.token for one in claim(store, node=1)})
    sql = f"UPDATE schedule SET node_id = 0, token = {token}"
    store.transact(lambda session: session.execute(sql) and None)
    assert len(store.transact(lambda session: table.claim(session, 1, "default", SOON, 10, excluded))) == 1


def test_a_claimed_job_is_claimed_by_no_other_node(store: Store) -> None:
    make_jobs(store, 3)
    assert len(claim(store, node=1)) == 3
    assert claim(store, node=2) == []


def test_jobs_that_are_not_ready_or_in_another_pool_are_left(store: Store) -> None:
    first, second, third = make_jobs(store, 3)
    store.transact(
        lambda s: table.save_states(
            s,
            [
                JobState(first, due=SOON + 1, ready=SOON + 1),
                JobState(second, due=1, ready=1, pool="slow"),
                JobState(third, due=1),
            ],
        )
    )
    assert claim(store) == []
    assert store.transact(earliest) == SOON + 1
    assert store.transact(lambda s: earliest(s, "none")) is None


def test_the_token_grows_with_each_claim(store: Store) -> None:
    make_jobs(store, 1)
    tokens = []
    for _ in range(4):
        (one,) = claim(store)
        tokens.append(one.state.token)
        finish(store, one.state, state=one.state._replace(node=0), run=None)
    assert tokens == [1, 2, 3, 4]


@pytest.mark.usefixtures("patient")
def test_many_at_once_claim_every_job_exactly_once(store: Store, database: str) -> None:
    ids = make_jobs(store, 400)
    claimed: list[int] = []
    failures: list[BaseException] = []

    def work(node: int) -> None:
        try:
            mine = Store(parse_url(database))  # a connection belongs to its thread
            while found := claim(mine, node, 7):
                claimed.extend(one.state.job_id for one in found)
            mine.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Counter(claimed) == Counter(ids)


def test_a_claim_update_writes_the_run_the_state_the_output_and_the_time_of_the_last_end(store: Store) -> None:
    (job_id,) = make_jobs(store, 1)
    (one,) = claim(store)
    assert finish(store, one.state, output=(OutputPart(job_id, 1, 1, 0, "hello\n"),)) == {job_id}
    after = after_change(store, job_id)
    assert (after.node, after.ready, after.number, after.token) == (0, None, 2, 1)
    rows = store.transact(lambda s: s.rows("SELECT job_id, number, outcome, finished_time FROM run"))
    assert [tuple(row) for row in rows] == [(job_id, 1, "succeeded", 30)]
    assert store.transact(lambda s: s.rows("SELECT text FROM output")) == [("hello\n",)]
    (loaded,) = store.transact(lambda s: table.load_for_update(s, [job_id]))
    assert loaded.job is not None
    assert loaded.job.last_finished == 30


@pytest.mark.parametrize(
    "after",
    [
        FOLLOWING,
        FOLLOWING._replace(due=None, ready=None, missed=7),
        FOLLOWING._replace(manual=True, resume=99),
        FOLLOWING._replace(attempt=2, guarded=True),
        FOLLOWING._replace(losses=1, error="what went wrong"),
    ],
    ids=["as ever", "done", "manual", "retry", "lost"],
)
def test_all_consequences_of_a_run_are_written(store: Store, after: JobState) -> None:
    (job_id,) = make_jobs(store, 1, pool="odd", fingerprint="the basis", attempt=3, losses=1, manual=True, resume=5)
    store.transact(lambda session: session.execute("UPDATE schedule SET error = 'old', guarded = 1, missed = 3"))
    (one,) = store.transact(lambda session: table.claim(session, 1, "odd", SOON, 1))
    following = after._replace(job_id=job_id, token=one.state.token)
    update = ClaimUpdate(1, one.state.token, following, run_of(one.state), ())
    assert store.transact(lambda session: table.record(session, [update], SOON)) == {job_id}
    assert after_change(store, job_id) == following


ODD_TEXT = (
    """%s %(a)s 100% {x} ? $1 :a 'q' "q" `q` \\ \\' \\n \n\t\r\x01\x7f\u00e9\u2028\U0001f600 NULL [1], -- /* */ #"""
)


def test_any_text_passes_through_a_claim_and_a_claim_update_unchanged(store: Store) -> None:
    (job_id,) = make_jobs(store, 1, pool="odd 'q' %s", fingerprint=ODD_TEXT, error=ODD_TEXT)
    interval = ODD_TEXT[:255]
    store.transact(lambda session: session.execute('UPDATE job SET "interval" = ?', (interval,)))
    (one,) = store.transact(lambda session: table.claim(session, 1, "odd 'q' %s", SOON, 1))
    assert one.job is not None
    assert (one.state.fingerprint, one.state.error, one.job.interval) == (ODD_TEXT, ODD_TEXT, interval)
    run = run_of(one.state)._replace(error=ODD_TEXT, result=ODD_TEXT)
    following = one.state._replace(node=0, number=2, error=ODD_TEXT[::-1])
    update = ClaimUpdate(1, one.state.token, following, run, (OutputPart(job_id, 1, 1, 0, ODD_TEXT),))
    assert store.transact(lambda session: table.record(session, [update], SOON)) == {job_id}
    assert after_change(store, job_id) == following
    assert store.transact(lambda s: s.rows("SELECT error, result FROM run")) == [(ODD_TEXT, ODD_TEXT)]
    assert store.transact(lambda s: s.rows("SELECT text FROM output")) == [(ODD_TEXT,)]


@pytest.mark.parametrize("change", [{"token": 0}, {"token": 2}, {"node": 2}])
def test_a_claim_update_with_another_token_or_node_is_refused_and_changes_nothing(
    store: Store, change: dict[str, int]
) -> None:
    (job_id,) = make_jobs(store, 1)
    (one,) = claim(store)
    assert finish(store, one.state, **change) == set()
    assert after_change(store, job_id) == one.state
    assert store.transact(lambda s: s.rows("SELECT * FROM run")) == []


def test_a_result_counts_once(store: Store) -> None:
    make_jobs(store, 1)
    (one,) = claim(store)
    assert finish(store, one.state) == {one.state.job_id}
    assert finish(store, one.state) == {one.state.job_id}  # it is down already: an earlier try has written it
    assert store.transact(lambda s: s.rows("SELECT count(*) FROM run"))[0] == (1,)


def test_large_batches_are_recorded_like_small_ones(store: Store) -> None:
    ids = make_jobs(store, 1_100)
    claimed = claim(store, limit=2_000)
    assert len(claimed) == 1_100
    updates = [
        ClaimUpdate(1, one.state.token, one.state._replace(node=0, ready=None, number=2), run_of(one.state), ())
        for one in claimed
    ]
    assert store.transact(lambda s: table.record(s, updates, SOON)) == set(ids)
    assert store.transact(lambda s: s.rows("SELECT count(*) FROM run"))[0] == (1_100,)


def test_no_statement_grows_with_the_number_of_rows(store: Store) -> None:
    def longest(count: int) -> int:
        statements = store.dialect.writes(
            Upsert("run", ("job_id",)), [(number,) for number in range(10_000, 10_000 + count)]
        )
        return max(len(sql) + len(str(parameters)) for sql, parameters in statements)

    assert longest(2_000) == longest(6_000)


def test_only_the_holder_of_a_claim_can_record_its_start(store: Store) -> None:
    (job_id,) = make_jobs(store, 1)
    (one,) = claim(store)
    assert store.transact(lambda s: table.record_starts(s, 1, [(job_id, one.state.token + 1, 77)])) == set()
    assert after_change(store, job_id).started is None
    assert store.transact(lambda s: table.record_starts(s, 1, [(job_id, one.state.token, 77)])) == {job_id}
    assert after_change(store, job_id).started == 77


def test_changes_are_seen_until_they_are_dropped(store: Store) -> None:
    (job_id,) = make_jobs(store, 1)
    store.transact(lambda s: table.notify_claim_holder(s, job_id, "cancel"))
    (change,) = store.transact(lambda s: table.changes(s, 10))
    assert (change.job_id, change.what) == (job_id, "cancel")
    store.transact(lambda s: table.drop_changes(s, [change.id]))
    assert store.transact(lambda s: table.changes(s, 10)) == []


def test_a_node_is_declared_dead_once_and_only_while_its_heartbeat_does_not_change(store: Store) -> None:
    node = store.transact(lambda s: nodes.register(s, "host", 7, "1", "instance", 5))
    (row,) = store.transact(nodes.live)
    assert store.transact(lambda s: nodes.beat(s, node))
    assert not store.transact(lambda s: nodes.declare_dead(s, node, row.heartbeat, 9))
    assert store.transact(lambda s: nodes.declare_dead(s, node, row.heartbeat + 1, 9))
    assert not store.transact(lambda s: nodes.declare_dead(s, node, row.heartbeat + 1, 9))
    assert not store.transact(lambda s: nodes.beat(s, node))
    assert store.transact(nodes.live) == []


def test_a_node_number_is_never_used_again(store: Store) -> None:
    numbers = [store.transact(lambda s: nodes.register(s, "host", 7, "1", "instance", 5)) for _ in range(3)]
    assert numbers == sorted(set(numbers))


def test_output_comes_in_parts_and_the_oldest_are_dropped(store: Store) -> None:
    for number, keep_from in ((0, 0), (1, 0), (2, 1)):
        part = OutputPart(1, 1, 1, number, f"{number}😀\n", keep_from)
        store.transact(partial(output.save, parts=[part]))
    found = store.transact(lambda s: s.rows("SELECT part, text FROM output ORDER BY part"))
    assert [tuple(row) for row in found] == [(1, "1😀\n"), (2, "2😀\n")]


def test_writing_a_part_again_changes_nothing(store: Store) -> None:
    for _ in range(2):
        store.transact(lambda s: output.save(s, [OutputPart(1, 1, 1, 0, "once\n")]))
    assert store.transact(lambda s: s.rows("SELECT text FROM output")) == [("once\n",)]


def record_runs(store: Store, job_id: int, finished: list[int]) -> None:
    rows = [(job_id, n, f, f, f, 1, "succeeded", 1, None, None, 0) for n, f in enumerate(finished, 1)]
    store.transact(lambda s: s.write_rows("run", RUN, rows))
    store.transact(lambda s: output.save(s, [OutputPart(job_id, n, 1, 0, "x") for n, _ in enumerate(finished, 1)]))


def left(store: Store, name: str = "run") -> list[tuple[int, int]]:
    return store.transact(lambda s: [(a, b) for a, b in s.rows(f"SELECT job_id, number FROM {name} ORDER BY 1, 2")])


def test_pruning_deletes_old_and_surplus_runs_with_their_output_and_nothing_else(store: Store) -> None:
    record_runs(store, 1, [10, 20, 300, 400, 500])
    record_runs(store, 2, [310])
    assert store.transact(lambda s: prune.prune(s, 100, {1: 3, 3: 7}, 100)) == 3
    assert left(store) == left(store, "output") == [(1, 4), (1, 5), (2, 1)]
    assert store.transact(lambda s: prune.prune(s, 100, {1: 3}, 100)) == 0


def test_pruning_goes_in_batches(store: Store) -> None:
    record_runs(store, 1, list(range(1, 51)))
    record_runs(store, 2, list(range(1, 51)))
    assert store.transact(lambda s: prune.prune(s, 1_000, {}, 20)) == 20
    assert store.transact(lambda s: prune.prune(s, 0, {1: 40, 2: 40}, 60)) == 60
    assert store.transact(lambda s: prune.prune(s, 0, {1: 40, 2: 40}, 60)) == 0
    assert left(store) == left(store, "output") == [(job_id, n) for job_id in (1, 2) for n in range(41, 51)]


@pytest.mark.usefixtures("patient")
def test_nodes_that_prune_at_once_do_not_wait_for_each_other(
    store: Store, database: str, open_store: Callable[[str], Store]
) -> None:
    if store.dialect.name == "sqlite":
        pytest.skip("only one can write at a time")
    for job_id in range(1, 301):
        record_runs(store, job_id, [job_id])
    other = open_store(database)

    def both(session: Session) -> tuple[int, int]:
        own = prune.prune(session, 1_000, {}, 10)
        return own, other.transact(lambda s: prune.prune(s, 1_000, {5: 1, 45: 1}, 30))

    assert store.transact(both) == (10, 30)
    assert len(left(store)) == 260


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("each", [1, 10, 600])
def test_nodes_that_record_at_once_do_not_wait_for_each_other(
    store: Store, database: str, open_store: Callable[[str], Store], each: int
) -> None:
    if store.dialect.name == "sqlite":
        pytest.skip("only one can write at a time")
    ids = make_jobs(store, 2 * each)
    mine, others = claim(store, node=1, limit=each), claim(store, node=2, limit=each)
    other = open_store(database)

    def recorded(session: Session, claimed: list[Claimed]) -> set[int]:
        done = [(one.state, one.state._replace(node=0, ready=None, number=2)) for one in claimed]
        return table.record(
            session, [ClaimUpdate(was.node, was.token, now, run_of(was), ()) for was, now in done], SOON
        )

    def both(session: Session) -> set[int]:
        return recorded(session, mine) | other.transact(lambda s: recorded(s, others))

    assert store.transact(both) == {*ids}


def test_an_invalid_row_is_reported_with_its_reason(store: Store) -> None:
    make_jobs(store, 2)
    store.transact(lambda s: s.execute("UPDATE job SET retry_times = -1 WHERE name = 'job0'"))
    store.transact(lambda s: s.execute("UPDATE job SET runonce = 7 WHERE name = 'job1'"))
    problems = {one.job.name: one.problem for one in claim(store) if one.job is not None}
    assert problems["job0"] is not None
    assert "retry_times is -1" in problems["job0"]
    assert problems["job1"] == "runonce is 7, not 0 or 1"


def idle_limit(store: Store) -> float:
    """After so many seconds the server ends a session that stands still within a transaction."""
    if store.dialect.name == "postgresql":
        sql = "SELECT setting::bigint / 1000.0 FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"
    else:
        sealed = getattr(store.dialect, "sealed", False)
        sql = f"SELECT @@SESSION.{'wait_timeout' if sealed else 'idle_transaction_timeout'}"
    return float(store.transact(lambda session: session.rows(sql))[0][0])


def test_a_node_that_is_frozen_within_a_transaction_does_not_hold_its_locks(
    store: Store, database: str, open_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server ends the session after 4 s. If that takes it more than another second, the other has to try again.
    monkeypatch.setattr(store_module, "RETRY_TIMEOUT", 20)
    if store.dialect.name == "sqlite":
        pytest.skip("a frozen process keeps the lock on the file; it is on the same machine")
    (job_id,) = make_jobs(store, 1)
    lock = "UPDATE schedule SET missed = missed + 1 WHERE job_id = ?"
    frozen = open_store(database)._connection().cursor()
    frozen.execute(store.dialect.begin)
    frozen.execute(lock.replace("?", "%s"), (job_id,))
    began = time.monotonic()
    store.transact(lambda session: session.execute(lock, (job_id,)) and None)
    assert time.monotonic() - began < 10
    assert idle_limit(store) == 4
    assert after_change(store, job_id).missed == 1  # what the frozen one had begun is undone


@pytest.mark.parametrize("server", ["mariadb", "postgresql", "mysql", "mariadb118", "postgresql18", "pgbouncer"])
def test_a_new_job_that_two_nodes_see_at_the_same_moment_is_claimed_by_one(
    server: str, request: pytest.FixtureRequest, open_store: Callable[[str], Store]
) -> None:
    """Neither finds a state that it could lock. On SQLite, one transaction after the other sees the job."""
    url = request.getfixturevalue(server).new_database()
    slow, fast = open_store(url), open_store(url)
    slow.transact(lambda s: s.execute("INSERT INTO job (name, runonce) VALUES ('new', 1)"))
    seen: list[list[JobState | None]] = []

    def plan(session: Session, moment: int) -> None:
        loaded = table.load_for_update(session, [1])
        if moment == SOON:
            seen.append([one.state for one in loaded])
            if len(seen) == 1:
                fast.transact(lambda other: plan(other, 10))
                assert [one.state.token for one in claim(fast, node=2)] == [11]
        free = [one for one in loaded if one.state is None or not one.state.node]
        table.save_states(session, [JobState(one.job_id, due=moment, ready=moment, token=moment) for one in free])

    slow.transact(lambda session: plan(session, SOON))
    assert seen[0] == [None]
    assert [one.node for one in seen[1] if one is not None] == [2], "it was planned again over the claim"
    assert claim(slow, node=1) == []
    assert fast.transact(lambda s: s.rows("SELECT node_id, token FROM schedule")) == [(2, 11)]


def test_each_recorded_run_is_announced_after_its_commit(store: Store) -> None:
    heard: list[int] = []
    on_record: list[int] = []

    def committed(runs: Sequence[Run]) -> None:
        heard.extend(run.job_id for run in runs)
        on_record.extend(job_id for (job_id,) in store.transact(lambda s: s.rows("SELECT job_id FROM run")))

    make_jobs(store, 2)
    first, second = (one.state for one in claim(store))
    store.runs_recorded.append(committed)
    finish(store, first)
    assert heard == on_record == [first.job_id]
    finish(store, second, run=None)  # an attempt that is followed by another
    assert heard == [first.job_id]


def test_a_run_whose_commit_becomes_known_later_is_announced_then(store: Store) -> None:
    heard: list[int] = []
    make_jobs(store, 1)
    (state,) = (one.state for one in claim(store))
    finish(store, state)  # as if the connection had broken during the commit: nobody has heard of it
    store.runs_recorded.append(lambda runs: heard.extend(run.job_id for run in runs))
    assert finish(store, state) == {state.job_id}
    assert heard == [state.job_id]


def test_a_listener_that_fails_leaves_the_transaction_committed_and_the_other_listeners_called(store: Store) -> None:
    heard: list[Run] = []

    def fail(runs: Sequence[Run]) -> None:
        raise RuntimeError("a bug")

    make_jobs(store, 1)
    (state,) = (one.state for one in claim(store))
    store.runs_recorded += [fail, heard.extend]
    assert finish(store, state) == {state.job_id}
    assert [run.job_id for run in heard] == [state.job_id]
    assert store.transact(lambda session: session.rows("SELECT count(*) FROM run")) == [(1,)]


def test_a_run_of_a_transaction_that_is_not_committed_is_not_announced(store: Store) -> None:
    heard: list[Run] = []
    make_jobs(store, 1)
    (state,) = (one.state for one in claim(store))
    store.runs_recorded.append(heard.extend)
    done = state._replace(node=0, due=None, ready=None, number=state.number + 1)
    update = ClaimUpdate(state.node, state.token, done, run_of(state), ())

    def fail(session: Session) -> None:
        table.record(session, [update], SOON)
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        store.transact(fail)
    assert heard == []
