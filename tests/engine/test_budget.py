"""Outcomes and output that wait for the database are counted exactly and bounded, and dropped output is reported."""

import contextlib
import errno
import json
import os
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from jobd import logs
from jobd.claim import Claim, ClaimUpdate, OutputPart
from jobd.clock import MINUTE, SECOND
from jobd.engine import pending_updates
from jobd.engine.budget import LIMIT, MAX_RUN_WAITING, OUTCOME_OVERHEAD, Budget, weight, weight_of
from jobd.engine.full_pass import FullPass, FullPasses
from jobd.engine.output import MIN_TAIL, Output
from jobd.engine.pending_updates import MAX_TRANSACTION, SPOOL_RATE, PendingUpdates
from jobd.engine.spool import FORMAT, FileSpool, Place
from jobd.engine.worker import Execution
from jobd.errors import DatabaseUnavailable
from jobd.job import Job, JobState, Run
from jobd.store.output import MAX_PART, bounded, kept_beside
from tests.engine.harness import START, ManualClock, NodeHarness


def part(attempt: int, text: str, number: int = 0, keep_from: int = 0, job: int = 1) -> OutputPart:
    return OutputPart(job, 1, attempt, number, text, keep_from, 1)


def over(job: int, result: str = "", *parts: OutputPart) -> ClaimUpdate:
    """A run that has ended, and its job is free again."""
    run = Run(job, 1, 0, 5, 10, 1, "succeeded", 1, None, result or None)
    return ClaimUpdate(1, 1, JobState(job, 20, 20, number=2, token=1), run, parts)


def retried(attempt: int, text: str) -> ClaimUpdate:
    """An attempt that has ended, and the next one follows at once."""
    return ClaimUpdate(1, 1, JobState(1, 20, 20, attempt=attempt, node=1, token=1), None, (part(attempt, text),))


class Rig:
    """Pending outcomes, and the file that they are kept in."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.budget = Budget(limit)
        self.path = folder / "spool"
        self.outcomes = PendingUpdates(FileSpool(str(self.path)), self.budget)

    def add(self, one: ClaimUpdate) -> None:
        self.budget.add_waiting(weight(one))
        self.outcomes.add(one)

    def print(self, one: OutputPart) -> None:
        self.budget.add_waiting(weight_of([one]))
        self.outcomes.add_printed(one)

    def written(self) -> list[ClaimUpdate]:
        """All that waits, as turns write it."""
        found = []
        while some := self.outcomes.first(1_000):
            found += some
            self.outcomes.drop(some)
        return found


# One count


def test_waiting_outcomes_and_running_output_count_towards_one_limit() -> None:
    budget = Budget(1_000)
    budget.add_waiting(400)
    budget.printing += 300
    assert (budget.calm, budget.crowded, budget.full) == (True, False, False)
    budget.printing += 100
    assert (budget.calm, budget.crowded, budget.full) == (True, True, False)
    budget.add_waiting(200)
    assert (budget.calm, budget.crowded, budget.full) == (False, True, True)
    budget.add_waiting(-600)
    budget.printing -= 400
    assert budget.used == 0


def test_dropped_output_is_logged_at_once_and_then_each_minute() -> None:
    budget = Budget()
    assert budget.dropped_notice(0) is None
    budget.count_dropped(1_000)
    assert str(budget.dropped_notice(5)).startswith("1,000 bytes of the output of runs were dropped")
    budget.count_dropped(500)
    budget.count_dropped(600)
    assert budget.dropped_notice(5 + MINUTE - 1) is None
    assert str(budget.dropped_notice(5 + MINUTE)).startswith("1,100 bytes")
    assert budget.dropped_notice(9 * MINUTE) is None


def test_a_text_counts_as_much_as_it_takes() -> None:
    assert weight(over(1)) == OUTCOME_OVERHEAD
    assert 4_000 < weight(over(1, "r" * 4_000)) - OUTCOME_OVERHEAD < 4_200
    assert 16_000 < weight(over(1, "\U0001f600" * 4_000)) - OUTCOME_OVERHEAD < 16_200  # four bytes a letter


# What runs in progress print


def test_output_of_a_run_counts_until_it_is_taken() -> None:
    budget = Budget()
    output = Output(1_000, budget)
    output.feed(b"x" * 600 + b"\n" + b"y" * 50)
    assert budget.printing == 651
    output.feed(b"y" * 2_000 + b"\n")
    assert budget.printing <= 2_000
    output.end()
    output.take()
    assert budget.printing == 0


def test_closing_an_output_gives_back_its_room() -> None:
    budget = Budget()
    output = Output(1_000, budget)
    output.feed(b'whole\nhalf\x1einfo+1 "a piece of a record\n\x1einfo+2 "another\nhalf')
    assert budget.printing > 0
    output.close()
    assert budget.printing == 0


def test_without_room_the_last_lines_are_kept_and_the_dropped_bytes_are_counted() -> None:
    budget = Budget()
    budget.add_waiting(LIMIT)
    output = Output(100_000, budget)
    for number in range(1_000):
        output.feed(b"line %d\n" % number)
    whole = sum(len(b"line %d\n" % number) for number in range(1_000))
    assert budget.printing <= MIN_TAIL
    lost, text = output.dropped, output.take()
    assert (text.splitlines()[0].split()[0], text.splitlines()[-1]) == ("line", "line 999")
    assert lost + len(text) == whole
    assert str(budget.dropped_notice(0)).startswith(f"{lost:,} bytes")
    assert output.dropped == 0


@pytest.mark.parametrize("pieces", [1, 8])
def test_pieces_of_records_that_never_end_take_little(pieces: int) -> None:
    budget = Budget()
    output = Output(1_000, budget)
    for number in range(1_000):
        output.feed(b'\x1einfo+%d "' % (number % pieces) + b"x" * 4_000 + b"\n")
    assert budget.printing < 300 * 1024


@pytest.mark.parametrize("limit", [1_000, 2 * MAX_PART])
def test_the_parts_of_an_output_stay_within_the_limit_together_and_each_is_one_that_a_server_takes(limit: int) -> None:
    execution = Execution(Claim(Job("job", "1h", id=1), JobState(1)), 1, limit, Budget())
    kept: list[OutputPart] = []
    for number in range(40):
        execution.output.feed(b"%d " % number + b"x" * (limit // 3 if number % 10 else 2 * limit) + b"\n")
        parts = execution.next_parts()
        for each in parts:
            kept = [*kept_beside(each, kept), each]
        assert [each.part for each in kept] == list(range(kept[0].part, kept[-1].part + 1))
        assert all(len(each.text) <= MAX_PART for each in kept)
        text = "".join(each.text for each in kept)
        assert len(text) <= limit + 100  # and the line that says what was cut
        assert text.endswith("x\n")
        if not number % 10:
            assert text.startswith("[jobd: ")
    assert execution.next_parts() == ()


# What waits


def test_an_outcome_counts_until_it_is_written(tmp_path: Path) -> None:
    rig = Rig(tmp_path, LIMIT)
    for job in range(100):
        rig.add(over(job, "result"))
    assert rig.budget.waiting == 100 * weight(over(1, "result"))
    assert len(rig.written()) == 100
    assert rig.budget.used == 0


def test_output_of_a_run_shares_the_fate_of_its_outcome(tmp_path: Path) -> None:
    rig = Rig(tmp_path, LIMIT)
    rig.print(part(1, "one\n", 0))
    rig.print(part(1, "two\n", 1))
    rig.print(part(1, "three\n", 2, keep_from=1))
    rig.add(over(1, "", part(1, "four\n", 3)))
    (one,) = rig.written()
    assert [each.text for each in one.output] == ["two\n", "three\n", "four\n"]
    assert rig.budget.used == 0


def test_a_transaction_takes_a_bounded_part_of_the_waiting_outcomes(tmp_path: Path) -> None:
    rig = Rig(tmp_path, 2**40)
    for job in range(20):
        rig.add(over(job, "", part(1, "x" * 1_000_000, job=job)))
        rig.print(part(1, "y" * 1_000_000, job=100 + job))
    assert sum(map(weight, rig.outcomes.first(1_000))) <= MAX_TRANSACTION
    some = rig.outcomes.printed()
    assert weight_of(some) <= MAX_TRANSACTION
    count = 0
    more = True
    while more:
        count += len(some)
        more = rig.outcomes.drop_printed(some)
        some = rig.outcomes.printed()
    assert count == 20
    assert len(rig.written()) == 20
    assert rig.budget.used == 0


def test_an_outcome_larger_than_the_bound_of_a_transaction_is_still_written(tmp_path: Path) -> None:
    rig = Rig(tmp_path, 2**40)
    rig.add(over(1, "", part(1, "x" * 2 * MAX_TRANSACTION)))
    assert len(rig.outcomes.first(10)) == 1


def test_attempts_without_end_take_no_more_than_one_job_may(tmp_path: Path) -> None:
    rig = Rig(tmp_path, LIMIT)
    for attempt in range(1, 1_000):
        rig.add(retried(attempt, "é" * 10_000))
    assert rig.budget.waiting < MAX_RUN_WAITING + 100_000
    (one,) = rig.written()
    first, *rest = one.output
    assert rest[-1].text == "é" * 10_000
    assert [each.attempt for each in rest] == list(range(first.attempt + 1, 1_000))
    assert (first.text, first.dropped) == ("", first.attempt * 20_000)
    assert str(rig.budget.dropped_notice(0)).startswith(f"{first.dropped:,} bytes of the output of runs were dropped")
    assert first.shown().startswith(f"[jobd: {first.attempt * 20_000:,} bytes of output were dropped here")
    assert rig.budget.used == 0


def test_the_last_attempt_loses_only_the_output_that_it_drops_itself() -> None:
    parts = [part(1, "a" * 100, 4, keep_from=3), part(2, "b" * 100), part(3, "c" * 100), part(3, "d" * 100, 1)]
    dropping, said, *rest = bounded(parts, 10)
    assert (dropping.text, dropping.dropped, dropping.keep_from) == ("", 0, 3)
    assert (said.attempt, said.text, said.dropped) == (2, "", 200)
    assert rest == parts[2:]
    assert bounded(parts, 10_000) == tuple(parts)


def test_a_newer_claim_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    rig = Rig(tmp_path, LIMIT)
    rig.add(over(1, "older"))
    newer = over(1, "newer")._replace(token=2)
    rig.add(newer)
    assert rig.budget.waiting == weight(newer)
    assert rig.written() == [newer]
    assert rig.budget.used == 0


def test_nothing_is_counted_any_more_when_nothing_is_to_be_written(tmp_path: Path) -> None:
    rig = Rig(tmp_path, LIMIT)
    rig.add(over(1, "x"))
    rig.print(part(1, "y", job=2))
    rig.outcomes.clear()
    assert rig.budget.used == 0
    assert rig.written() == []


# The spool


def test_beyond_a_bound_outcomes_are_in_the_spool_alone_and_none_is_lost(tmp_path: Path) -> None:
    rig = Rig(tmp_path, 100_000)
    expected = [over(job, f'"{job}"' + "r" * 4_000, part(1, f"{job}\n", job=job)) for job in range(500)]
    for one in expected:
        rig.add(one)
    assert rig.budget.full
    rig.outcomes.keep(0)
    assert rig.budget.calm
    assert len(rig.outcomes) == 500
    assert rig.written() == expected
    assert rig.budget.used == 0


def test_outcomes_of_runs_that_retry_here_stay_in_memory(tmp_path: Path) -> None:
    rig = Rig(tmp_path, 1_000)
    rig.add(retried(1, "one"))
    rig.outcomes.keep(0)
    rig.add(retried(2, "two"))
    (one,) = rig.written()
    assert [each.text for each in one.output] == ["one", "two"]


def test_the_spool_stays_as_small_as_its_useful_part(tmp_path: Path) -> None:
    rig = Rig(tmp_path, LIMIT)
    rig.add(over(2, "kept"))
    now = largest = 0
    for attempt in range(1, 2_000):
        rig.add(retried(attempt, "x" * 60_000))
        now += 10 * SECOND
        rig.outcomes.keep(now)
        largest = max(largest, rig.path.stat().st_size)
    assert largest < 12 * 2**20
    left = [one for group in PendingUpdates(FileSpool(str(rig.path)), Budget()).load_spooled() for one in group]
    assert {one.state.job_id: one for one in left} == {1: rig.written()[-1], 2: over(2, "kept")}


def test_the_disk_is_written_at_a_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def counted(write: Callable[..., list[Place]]) -> Callable[..., list[Place]]:
        def count(self: FileSpool, what: Iterable[Any]) -> list[Place]:
            places = write(self, what)
            written.extend(place.size for place in places)
            return places

        return count

    for name in ("add", "rewrite"):
        monkeypatch.setattr(FileSpool, name, counted(getattr(FileSpool, name)))
    rig = Rig(tmp_path, LIMIT)
    for attempt in range(1, 2_000):  # in ten seconds
        rig.add(retried(attempt, "x" * 60_000))
        rig.outcomes.keep(attempt * 5_000)
    assert sum(written) < 10 * SPOOL_RATE + 2 * MAX_RUN_WAITING
    rig.outcomes.keep(10 * SECOND, hurry=True)
    assert [one for group in rig.outcomes.load_spooled() for one in group] == rig.written()


def test_a_spool_that_cannot_be_written_keeps_outcomes_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(logs, "log", lambda level, message, *about: said.append(message))
    rig = Rig(tmp_path / "missing", 1_000)
    rig.add(over(1, "x" * 4_000))
    for now in range(3):
        rig.outcomes.keep(now)
    assert len(said) == 1
    assert rig.budget.full
    assert rig.written() == [over(1, "x" * 4_000)]


def test_an_outcome_that_cannot_be_read_back_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(logs, "log", lambda level, message, *about: said.append(message))
    rig = Rig(tmp_path, 1_000)
    for job in (1, 2):
        rig.add(over(job, "x" * 4_000))
    rig.outcomes.keep(0)
    rig.path.write_bytes(b"[" + rig.path.read_bytes()[1:].replace(b"\n", b"]", 1))
    assert rig.outcomes.first(10) == [over(2, "x" * 4_000)]
    assert {job: (one.token, one.started) for job, one in rig.outcomes.take_unreadable().items()} == {1: (1, 5)}
    assert rig.outcomes.take_unreadable() == {}
    assert "an outcome of job 1 cannot be read back" in said[0]


def test_a_partial_entry_of_a_dead_daemon_hides_no_later_entry(tmp_path: Path) -> None:
    rig = Rig(tmp_path, LIMIT)
    rig.path.write_bytes(b'[1, 1, 1, ["half a')
    assert list(rig.outcomes.load_spooled()) == []
    rig.outcomes.empty_spool()  # as a start does when it has handed in what was left
    rig.add(over(1))
    rig.outcomes.keep(0)
    left = Rig(tmp_path, LIMIT).outcomes.load_spooled()
    assert [one for group in left for one in group] == [over(1)]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("damage", [b"[2, 1, 1, [], null, []]\n", b"nonsense\n"])
def test_a_spool_that_cannot_be_read_to_its_end_is_kept(tmp_path: Path, damage: bytes, place: int) -> None:
    """It is damaged, or a newer jobd wrote it. Entries after the damage are not read."""
    rig = Rig(tmp_path, LIMIT)
    rig.add(over(1))
    rig.outcomes.keep(0, hurry=True)
    lines = rig.path.read_bytes().splitlines(keepends=True)
    content = b"".join([*lines[:place], damage, *lines[place:]])
    rig.path.write_bytes(content)
    fresh = Rig(tmp_path, LIMIT)
    left = [one for group in fresh.outcomes.load_spooled() for one in group]
    fresh.outcomes.empty_spool()
    assert left == [over(1)][:place]
    assert not rig.path.exists()
    assert rig.path.with_name(rig.path.name + ".unread").read_bytes() == content
    fresh.outcomes.empty_spool()
    fresh.add(over(2))
    fresh.outcomes.keep(0, hurry=True)
    assert [one for group in Rig(tmp_path, LIMIT).outcomes.load_spooled() for one in group] == [over(2)]


def test_output_beyond_the_room_of_the_spool_is_dropped_and_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "log", lambda *words: None)
    monkeypatch.setattr(pending_updates, "MAX_SPOOLED_OUTPUT", -1)
    rig = Rig(tmp_path, LIMIT)
    rig.add(over(1, "result", part(1, "x" * 1_000)))
    add = FileSpool.add

    def full(self: FileSpool, updates: Iterable[ClaimUpdate]) -> list[Place]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(FileSpool, "add", full)
    for now in range(5):
        rig.outcomes.keep(now)
    assert rig.budget.dropped_notice(0) is None, "nothing has been dropped: it is in memory"
    monkeypatch.setattr(FileSpool, "add", add)
    rig.outcomes.keep(5)
    assert str(rig.budget.dropped_notice(0)).startswith("1,000 bytes")
    (one,) = rig.written()
    assert (one.run, [(each.text, each.dropped) for each in one.output]) == (over(1, "result").run, [("", 1_000)])
    assert rig.budget.used == 0


def test_the_spool_takes_output_up_to_a_bound_and_outcomes_beyond_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_updates, "MAX_SPOOLED_OUTPUT", 2**20)
    rig = Rig(tmp_path, LIMIT)
    for job in range(400):
        rig.add(over(job, "result", part(1, "x" * 10_000, job=job)))
        rig.outcomes.keep(job * SECOND)
    assert rig.path.stat().st_size < 2**20 + 400 * 500
    written = rig.written()
    assert [one.run for one in written] == [over(job, "result").run for job in range(400)]
    whole = [one for one in written if one.output[0].text]
    assert 90 < len(whole) < 120
    assert all(one.output[0].dropped == 10_000 for one in written[len(whole) :])
    assert str(rig.budget.dropped_notice(0)).startswith(f"{(400 - len(whole)) * 10_000:,} bytes")


class Died(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["open", "write", "fdatasync", "rename", "fsync"])
def test_a_daemon_that_dies_while_it_makes_the_spool_smaller_loses_no_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    spool = FileSpool(str(tmp_path / "spool"))
    spool.add([over(job, "old") for job in range(5)])
    places = spool.add([over(job, "new") for job in range(5)])
    call = getattr(os, step)

    def dies(*words: Any) -> Any:
        if when == "after":
            call(*words)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(os, step, dies)
        with pytest.raises(Died):
            spool.rewrite(places)
    again = FileSpool(str(tmp_path / "spool"))
    assert [again.read(place) for place in again.load()] == [over(job, "new") for job in range(5)]
    moved = again.rewrite(again.load())  # what was left by half is in nobody's way
    assert [again.read(place) for place in moved] == [over(job, "new") for job in range(5)]


def test_other_bytes_in_the_place_of_an_outcome_are_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user removed the spool, and another outcome was written to a new one."""
    monkeypatch.setattr(logs, "log", lambda *words: None)
    rig = Rig(tmp_path, 1_000)
    rig.add(over(1, "x" * 4_000))
    rig.outcomes.keep(0)
    rig.path.unlink()
    rig.add(over(2, "y" * 4_000))
    rig.outcomes.keep(10 * SECOND)
    assert rig.outcomes.first(10) == [over(2, "y" * 4_000)]
    assert list(rig.outcomes.take_unreadable()) == [1]


# A node


def test_nothing_is_claimed_while_much_waits_and_no_run_begins_while_all_is_in_use(tmp_path: Path) -> None:
    harness = NodeHarness(tmp_path, workers=2, poll=SECOND)
    harness.add(*(Job(f"job{number}", "1s") for number in range(5)))

    def runs_in(seconds: int) -> int:
        before = len(harness.ran)
        harness.look()  # as the dispatch loop asks for claims
        harness.pass_time(seconds * SECOND)
        return len(harness.ran) - before

    assert runs_in(3) >= 10
    harness.budget.add_waiting(LIMIT // 2)
    assert runs_in(3) < 10, "what has been claimed runs"
    assert runs_in(3) == 0
    harness.budget.add_waiting(-LIMIT // 2)
    assert runs_in(3) >= 10
    harness.budget.add_waiting(LIMIT)
    assert len(harness._processor.queue) > 0
    assert runs_in(1) < 5, "at most the prefetched runs"
    assert runs_in(3) == 0
    harness.budget.add_waiting(-LIMIT)
    assert runs_in(3) >= 10
    assert harness.budget.used < 10_000


def test_a_run_whose_outcome_cannot_be_read_back_is_recorded_as_lost_and_run_again(tmp_path: Path) -> None:
    harness = NodeHarness(tmp_path, workers=2, poll=SECOND)
    harness.add(Job("job", "1 0 1 1 *"))
    harness.pass_time(MINUTE - SECOND)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness._keeper._store, "transact", _away)
        harness.pass_time(2 * SECOND)
        assert len(harness.ran) == 1
        harness.budget.add_waiting(LIMIT)  # so its outcome is in the spool alone
        harness.pass_time(SECOND)
        Path(harness._spool._path).write_text("nonsense")
        harness.budget.add_waiting(-LIMIT)
    harness.pass_time(10 * SECOND)
    assert len(harness.ran) == 2
    with contextlib.closing(sqlite3.connect(tmp_path / "jobd.db")) as database:
        recorded = database.execute("SELECT number, outcome FROM run ORDER BY number").fetchall()
        assert recorded == [(1, "lost"), (2, "succeeded")]
        assert database.execute("SELECT count(*) FROM schedule WHERE node_id <> 0").fetchone() == (0,)
    assert harness.budget.used == 0


def _away(work: object) -> None:
    raise DatabaseUnavailable("it is away")


def test_spooled_outcomes_of_an_older_jobd_are_written_with_their_output(tmp_path: Path) -> None:
    """Its parts do not say what was lost before them."""
    harness = NodeHarness(tmp_path)
    harness.add(*(Job(f"job{number}", runonce=True, interval="1 0 1 1 *") for number in range(20)))
    harness.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "jobd.db")) as database:
        states = database.execute("SELECT job_id, node_id, token FROM schedule").fetchall()
    lines = []
    for job, node, token in states:
        one = over(job, "", OutputPart(job, 1, 1, 0, f"{job}" * 300_000, 0, token))._replace(node=node, token=token)
        output = [part[:7] for part in one.output]
        lines.append(json.dumps([FORMAT, one.node, one.token, one.state._replace(token=token), one.run, output]))
    Path(harness._spool._path).write_text("".join(line + "\n" for line in lines))
    harness.start()
    with contextlib.closing(sqlite3.connect(tmp_path / "jobd.db")) as database:
        assert database.execute("SELECT count(*), sum(length(text)) FROM output").fetchone() == (
            20,
            sum(len(str(job)) * 300_000 for job, _, _ in states),
        )
    assert harness.budget.used == 0
    assert not Path(harness._spool._path).exists()


# What else waits for the database


def test_repeated_requests_for_a_full_pass_cost_one_full_pass() -> None:
    begun = FullPass(starting=True, wake=True, after=5)
    passes = FullPasses(begun, ManualClock(START))
    for _ in range(100):
        passes.add(FullPass(put_back=SECOND))
        passes.add(FullPass(wake=True, zones=True))
    assert passes.first() == begun
    passes.slice_done(None)
    assert passes.first() == FullPass(wake=True, zones=True, put_back=100 * SECOND)
    passes.slice_done(None)
    assert (passes.first(), bool(passes)) == (None, False)
