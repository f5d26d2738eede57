"""The effects of a daemon's start and of a clock that is set back, on every database."""

from functools import partial

import pytest

from jobd.clock import DAY, HOUR, MINUTE, SECOND
from jobd.engine import full_pass
from jobd.engine.changes import ChangeApplier
from jobd.engine.full_pass import FullPass, clock_set_back_by
from jobd.job import PLAIN, Job, Options, Run
from jobd.store import definitions, nodes
from jobd.store.rows import RUN, run_row
from jobd.store.store import Store

NOW = 1_800_000_000 * SECOND  # 2027-01-15 08:00 UTC


def ready(store: Store) -> dict[str, int | None]:
    sql = "SELECT name, ready_time FROM job JOIN schedule ON job_id = id"
    return dict(store.transact(lambda session: session.rows(sql)))


def look(store: Store, now: int) -> None:
    store.transact(ChangeApplier(1, now, "UTC", PLAIN).apply)


def all_of(store: Store, work: FullPass | None, now: int) -> int:
    """Do a full pass to its end; how many slices it took."""
    slices = 0
    while work is not None:
        work = store.transact(partial(full_pass.run_slice, work=work, now=now, zone="UTC"))
        slices += 1
    return slices


def test_a_start_makes_reboot_schedules_due(store: Store) -> None:
    jobs = {
        "boot": Job("boot", "@reboot"),
        "both": Job("both", "0 9 * * *; @REBOOT"),
        "zone": Job("zone", "TZ=Asia/Tokyo @reboot"),
        "paused": Job("paused", "@reboot", options=Options(paused=True)),
        "deleted": Job("deleted", "@reboot"),
        "named @reboot": Job("named @reboot", "1h"),
    }
    definitions.add(store, list(jobs.values()), NOW, "UTC")
    definitions.delete(store, ["deleted"], NOW, "UTC")
    assert ready(store)["boot"] is None
    for _ in range(2):  # two daemons at the same time ask for one run
        assert all_of(store, FullPass(starting=True), NOW + MINUTE) == 1
    due = ready(store)
    assert [due[name] for name in ("boot", "both", "zone")] == [NOW + MINUTE] * 3
    assert (due["paused"], due["deleted"], due["named @reboot"]) == (None, None, NOW)


def test_intervals_follow_a_clock_that_is_put_back_and_clock_times_only_when_it_was_wrong(store: Store) -> None:
    jobs = [Job("interval", "10m"), Job("noon", "0 12 * * *"), Job("date", "at 2027-01-15T12:00")]
    definitions.add(store, jobs, NOW, "UTC")
    noon = NOW + 4 * HOUR
    sql = "UPDATE schedule SET due_time = ?, ready_time = ? WHERE job_id = (SELECT id FROM job WHERE name = ?)"
    store.transact(lambda s: s.execute(sql, (NOW + 10 * MINUTE, NOW + 10 * MINUTE, "interval")) and None)
    # Each time the grid moves by a microsecond, so that no due time comes twice.
    for by, expected, until in ((HOUR, noon, 10 * MINUTE + 1), (2 * DAY, noon - 2 * DAY, 2)):
        now = NOW - by
        assert all_of(store, FullPass(put_back=by), now) == 1
        look(store, now)
        assert ready(store) == {"interval": now + until, "noon": expected, "date": noon}


def test_a_history_that_ends_in_the_future_shows_that_the_clock_was_set_back(store: Store) -> None:
    (job_id,) = definitions.add(store, [Job("noon", "0 12 * * *")], NOW, "UTC")
    assert store.transact(lambda session: clock_set_back_by(session, lambda: NOW, "here")) == 0
    node = store.transact(lambda session: nodes.register(session, "host", 1, "1", "here", NOW))
    run = Run(job_id, 1, NOW, NOW, NOW, 1, "succeeded", node)
    store.transact(lambda session: session.write_rows("run", RUN, [run_row(run)]))
    put_back = store.transact(lambda session: clock_set_back_by(session, lambda: NOW - 2 * DAY, "here"))
    assert put_back == 2 * DAY
    all_of(store, FullPass(put_back=put_back), NOW - 2 * DAY)
    look(store, NOW - 2 * DAY)
    assert ready(store) == {"noon": NOW + 4 * HOUR - 2 * DAY}


def test_a_node_whose_clock_is_ahead_does_not_put_back_that_of_another(store: Store) -> None:
    (job_id,) = definitions.add(store, [Job("often", "1s")], NOW, "UTC")
    ahead = store.transact(lambda session: nodes.register(session, "ahead", 1, "1", "ahead", NOW))
    run = Run(job_id, 1, NOW, NOW, NOW + 2 * SECOND, 1, "succeeded", ahead)
    store.transact(lambda session: session.write_rows("run", RUN, [run_row(run)]))
    assert store.transact(lambda session: clock_set_back_by(session, lambda: NOW, "behind")) == 0
    assert store.transact(lambda session: clock_set_back_by(session, lambda: NOW, "ahead")) == 2 * SECOND


def test_all_jobs_are_passed_over_one_slice_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_pass, "JOBS_PER_SLICE", 3)
    definitions.add(store, [Job(f"boot{number}", "@reboot") for number in range(7)], NOW, "UTC")
    lost = "UPDATE schedule SET due_time = 1, ready_time = 9, error = 'unknown task' WHERE job_id = 5"
    store.transact(lambda session: session.execute(lost) and None)
    assert all_of(store, FullPass(wake=True), NOW) == 3
    assert ready(store)["boot4"] == 1
    assert all_of(store, FullPass(starting=True, put_back=HOUR), NOW) == 3
    assert set(ready(store).values()) == {NOW}


def test_a_start_checks_zones_once_for_each_zone_and_version_of_the_rules(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions.add(store, [Job(f"job{number}", "0 9 * * *") for number in range(3)], NOW, "UTC")
    start = FullPass(starting=True, zones=True)

    def moved_by(work: FullPass) -> bool:
        """Whether it puts the zone in the states right."""
        wrong = "UPDATE schedule SET basis = REPLACE(basis, '|UTC|', '|Asia/Tokyo|')"
        store.transact(lambda session: session.execute(wrong) and None)
        all_of(store, work, NOW)
        found = {fingerprint for (fingerprint,) in store.transact(lambda s: s.rows("SELECT basis FROM schedule"))}
        assert len(found) == 1
        return "|UTC|" in found.pop()

    assert moved_by(start), "nobody has looked yet"
    assert not moved_by(start)
    assert moved_by(FullPass(zones=True)), "a node that has just read this zone"
    monkeypatch.setattr(full_pass, "JOBS_PER_SLICE", 2)
    monkeypatch.setattr(full_pass, "rules_version", lambda: "newer")
    half = store.transact(lambda session: full_pass.run_slice(session, start, NOW, "UTC"))
    assert half is not None
    assert moved_by(start), "it died half-way, and starts again"
    assert not moved_by(start)
