"""The pure decisions about runs: a table of promises. The current time is an argument."""

from datetime import datetime
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd import lifecycle
from jobd.clock import DAY, HOUR, MINUTE, SECOND, from_datetime
from jobd.definition import effective, with_defaults
from jobd.job import Job, JobState, Options
from jobd.lifecycle import Decision, Ended

T0 = from_datetime(datetime(2026, 11, 23, 12, 0, 0))
NONE = Options()


def planned(job: Job, now: int = T0) -> JobState:
    return lifecycle.after_change(job, None, now, "UTC")


def claimed(job: Job, now: int = T0) -> JobState:
    return planned(job, now)._replace(node=1, token=1)


def end(job: Job, state: JobState, outcome: str, at: int, started: int | None = None, random: float = 0.5) -> Decision:
    ended = Ended(outcome, at if started is None else started, at)
    return lifecycle.after_attempt(with_defaults(job, NONE), state, ended, "UTC", random)


def take(job: Job, state: JobState, now: int) -> Decision:
    return lifecycle.after_claim(with_defaults(job, NONE), state, now, "UTC")


EVERY = Job("task1", "10s", id=1)
ONCE = Job("task2", None, runonce=True, id=2)
CRON = Job("nightly", "30 2 * * *", id=3)


# Planning


def test_an_interval_is_due_at_once_and_its_grid_begins_there() -> None:
    state = planned(EVERY)
    assert (state.due, state.ready, state.anchor, state.number) == (T0, T0, T0, 1)


def test_a_cron_job_is_first_due_at_the_next_match() -> None:
    assert planned(CRON).due == T0 + 14 * HOUR + 30 * MINUTE


def test_a_change_that_does_not_touch_the_schedule_keeps_the_due_times() -> None:
    state = end(EVERY, claimed(EVERY), "succeeded", T0 + SECOND).state
    changed = lifecycle.after_change(EVERY._replace(retry_times=5), state, T0 + 3 * SECOND, "UTC")
    assert (changed.due, changed.anchor, changed.number) == (T0 + 10 * SECOND, T0, 2)


def test_a_change_of_the_schedule_begins_a_new_grid_and_keeps_the_run_numbers() -> None:
    state = end(EVERY, claimed(EVERY), "succeeded", T0 + SECOND).state
    changed = lifecycle.after_change(EVERY._replace(interval="7s"), state, T0 + 3 * SECOND, "UTC")
    assert (changed.due, changed.anchor, changed.number) == (T0 + 3 * SECOND, T0 + 3 * SECOND, 2)


SECONDLY = Job("ticks", "* * * * * *", id=4)


@pytest.mark.parametrize("interval", ["*/2 * * * * *", "7s", "after 7s"])
def test_a_new_schedule_put_into_effect_late_brings_no_due_time_that_has_run(interval: str) -> None:
    state = end(SECONDLY, claimed(SECONDLY), "succeeded", T0 + 2 * SECOND, T0 + 2 * SECOND).state
    changed = SECONDLY._replace(interval=interval, last_finished=T0 + 2 * SECOND)
    after = lifecycle.after_change(changed, state, T0 + SECOND, "UTC")
    assert T0 + 2 * SECOND < (after.due or 0) <= T0 + 4 * SECOND


@pytest.mark.parametrize("interval", ["*/2 * * * * *", "7s", "after 7s"])
def test_a_run_that_is_given_up_late_keeps_its_due_time(interval: str) -> None:
    job = SECONDLY._replace(retry_times=3, options=Options(backoff=MINUTE))
    state = end(job, claimed(job), "failed", T0 + 2 * SECOND).state
    assert state.attempt == 1
    after = lifecycle.after_change(job._replace(interval=interval), state, T0, "UTC")
    assert (state.due or 0) < (after.due or 0) <= T0 + 4 * SECOND


def test_a_new_interval_begins_now_where_the_clock_of_the_last_run_was_wrong() -> None:
    state = end(EVERY, claimed(EVERY), "succeeded", T0 + SECOND).state
    changed = EVERY._replace(interval="7s", last_finished=T0 + HOUR)
    assert lifecycle.after_change(changed, state, T0 + 3 * SECOND, "UTC").due == T0 + 3 * SECOND


@pytest.mark.parametrize(
    "job",
    [
        Job("bad", "every now and then"),
        Job("bad", None),
        Job("bad", "10s", retry_times=-1),
        Job("bad", "30 2 31 2 *"),
        Job("bad", "10s", options=Options(catch_up="perhaps")),
    ],
)
def test_an_invalid_definition_is_never_due_and_has_a_reason(job: Job) -> None:
    state = planned(job)
    assert state.ready is None
    assert state.error


def test_a_definition_that_is_put_right_runs() -> None:
    state = lifecycle.after_change(EVERY, planned(EVERY._replace(interval="nonsense")), T0, "UTC")
    assert (state.ready, state.error) == (T0, None)


def test_a_deleted_job_is_not_ready_and_comes_back_as_it_was() -> None:
    state = lifecycle.after_change(ONCE._replace(deleted=True), planned(ONCE), T0, "UTC")
    assert state.ready is None
    assert lifecycle.after_change(ONCE, state, T0 + DAY, "UTC").ready == T0


def test_a_finished_job_that_was_deleted_stays_finished_when_restored() -> None:
    done = end(ONCE, claimed(ONCE), "succeeded", T0).state
    deleted = lifecycle.after_change(ONCE._replace(deleted=True), done, T0, "UTC")
    assert lifecycle.after_change(ONCE, deleted, T0, "UTC").ready is None


def test_a_resumed_job_goes_on_with_the_next_due_time_of_its_grid() -> None:
    paused = EVERY._replace(options=Options(paused=True))
    state = lifecycle.after_change(paused, planned(EVERY), T0, "UTC")
    assert state.ready is None
    resumed = lifecycle.after_change(EVERY, state, T0 + 25 * SECOND, "UTC")
    assert (resumed.due, resumed.ready, resumed.missed) == (T0 + 30 * SECOND, T0 + 30 * SECOND, 3)


# Claims


def test_the_grid_of_a_new_interval_begins_when_a_daemon_first_takes_it() -> None:
    decision = take(EVERY, claimed(EVERY), T0 + 3 * SECOND)
    assert (decision.state.due, decision.state.anchor) == (T0 + 3 * SECOND, T0 + 3 * SECOND)
    assert end(EVERY, decision.state, "succeeded", T0 + 4 * SECOND).state.due == T0 + 13 * SECOND


def test_after_downtime_an_interval_runs_once_at_once_and_then_on_its_old_grid() -> None:
    state = end(EVERY, claimed(EVERY), "succeeded", T0).state._replace(node=1, token=2)
    late = T0 + 57 * SECOND
    decision = take(EVERY, state, late)
    assert decision.run is None
    assert decision.state.due == T0 + 10 * SECOND
    after = end(EVERY, decision.state, "succeeded", late + SECOND, late).state
    assert (after.due, after.missed) == (T0 + 60 * SECOND, 4)


def test_catch_up_none_waits_for_the_next_due_time_and_records_the_skipped_ones() -> None:
    job = EVERY._replace(options=Options(catch_up="none"))
    state = end(job, claimed(job), "succeeded", T0).state._replace(node=1, token=2)
    decision = take(job, state, T0 + 57 * SECOND)
    assert decision.run is not None
    assert (decision.run.outcome, decision.run.due, decision.run.missed) == ("skipped", T0 + 10 * SECOND, 4)
    assert (decision.state.node, decision.state.due, decision.state.missed) == (0, T0 + 60 * SECOND, 5)


def test_catch_up_all_runs_each_missed_due_time_oldest_first() -> None:
    job = EVERY._replace(options=Options(catch_up="all"))
    state = claimed(job)
    dues = []
    for _ in range(4):
        dues.append(state.due)
        state = end(job, take(job, state._replace(node=1), T0).state, "succeeded", T0 + 57 * SECOND).state
    assert dues == [T0, T0 + 10 * SECOND, T0 + 20 * SECOND, T0 + 30 * SECOND]


def test_catch_up_all_runs_the_newest_thousand() -> None:
    job = EVERY._replace(options=Options(catch_up="all"))
    state = end(job, claimed(job), "succeeded", T0).state._replace(node=1, token=2)
    decision = take(job, state, T0 + 5_000 * 10 * SECOND)
    assert decision.state.due == T0 + 4_001 * 10 * SECOND
    assert decision.run is not None
    assert decision.run.missed + 1 == 4_000


def test_a_grace_skips_due_times_that_are_too_old() -> None:
    job = ONCE._replace(options=Options(grace=MINUTE))
    assert take(job, claimed(job), T0 + MINUTE).run is None
    decision = take(job, claimed(job), T0 + MINUTE + 1)
    assert decision.run is not None
    assert decision.run.outcome == "skipped"
    assert decision.state.ready is None


def test_a_run_that_may_have_started_when_its_node_died_is_guarded_and_counted_when_lost_again() -> None:
    state = lose(ONCE, claimed(ONCE)).state
    assert (state.guarded, state.losses, state.number) == (True, 0, 1)
    decision = lose(ONCE, state._replace(node=1, started=T0))
    assert decision.run is not None
    assert (decision.run.outcome, decision.state.losses, decision.state.guarded) == ("lost", 2, True)
    decision = lose(ONCE, decision.state._replace(node=1, started=T0))
    assert decision.run is not None
    assert decision.run.outcome == "failed"


# Ends


def test_due_times_stay_on_the_grid_for_any_duration_of_a_run() -> None:
    state = claimed(EVERY)
    for number in range(1, 50):
        assert state.due is not None
        started = state.due + number * 1_000
        state = end(EVERY, state, "succeeded", started + number * 10_000, started).state._replace(node=1)
        assert state.due == T0 + number * 10 * SECOND


def test_a_run_longer_than_its_interval_is_followed_by_the_next_aligned_due_time() -> None:
    decision = end(EVERY, claimed(EVERY), "succeeded", T0 + 25 * SECOND, T0)
    assert (decision.state.due, decision.state.missed) == (T0 + 30 * SECOND, 2)


def test_due_times_missed_during_a_long_run_of_a_cron_job_are_caught_up_once() -> None:
    job = CRON._replace(interval="0 * * * *")
    state = claimed(job)
    assert state.due == T0 + HOUR
    decision = end(job, state, "succeeded", T0 + 3 * HOUR + 5 * MINUTE, T0 + HOUR)
    assert decision.state.due == T0 + 2 * HOUR
    decision = end(job, decision.state, "succeeded", T0 + 3 * HOUR + 6 * MINUTE, T0 + 3 * HOUR + 5 * MINUTE)
    assert (decision.state.due, decision.state.missed) == (T0 + 4 * HOUR, 1)


def test_after_means_after_the_end_of_the_run() -> None:
    job = Job("poll", "after 10s", id=4)
    assert end(job, claimed(job), "succeeded", T0 + 7 * SECOND, T0).state.due == T0 + 17 * SECOND


@pytest.mark.parametrize("outcome", ["succeeded", "cancelled", "failed"])
def test_a_job_that_runs_once_is_done_after_its_run_with_any_outcome(outcome: str) -> None:
    decision = end(ONCE, claimed(ONCE), outcome, T0)
    assert (decision.state.ready, decision.state.due, decision.state.number) == (None, None, 2)
    assert decision.run is not None
    assert decision.run.outcome == outcome


def test_three_retries_mean_at_most_four_attempts_and_one_run() -> None:
    job = Job("task3", None, runonce=True, retry_times=3, id=5)
    state = claimed(job)
    for attempt in (1, 2, 3):
        decision = end(job, state, "failed", T0)
        assert decision.run is None
        assert (decision.state.node, decision.state.ready, decision.state.attempt) == (1, T0, attempt)
        state = decision.state
    decision = end(job, state, "timed_out", T0)
    assert decision.run is not None
    assert (decision.run.outcome, decision.run.attempts) == ("timed_out", 4)
    assert decision.state.ready is None


def test_a_back_off_doubles_up_to_its_maximum_and_frees_the_claim() -> None:
    job = Job("flaky", None, runonce=True, retry_times=9, options=Options(backoff=2 * SECOND, backoff_max=10 * SECOND))
    state, delays = claimed(job), []
    for _ in range(4):
        decision = end(job, state, "failed", T0)
        assert decision.state.node == 0
        assert decision.state.ready is not None
        delays.append(decision.state.ready - T0)
        state = decision.state._replace(node=1)
    assert delays == [2 * SECOND, 4 * SECOND, 8 * SECOND, 10 * SECOND]


def test_jitter_moves_a_back_off_by_a_tenth_at_most() -> None:
    job = Job("flaky", None, runonce=True, retry_times=1, options=Options(backoff=10 * SECOND))
    for random, delay in ((0.0, 9 * SECOND), (1.0, 11 * SECOND)):
        assert end(job, claimed(job), "failed", T0, random=random).state.ready == T0 + delay


def test_success_and_cancellation_are_not_retried() -> None:
    job = EVERY._replace(retry_times=3)
    for outcome in ("succeeded", "cancelled"):
        assert end(job, claimed(job), outcome, T0).run is not None


# What a person asks for


def test_a_requested_run_is_followed_by_the_regular_due_time() -> None:
    state = planned(CRON)
    asked = lifecycle.request(state, T0 + SECOND)
    assert (asked.due, asked.ready, asked.resume) == (T0 + SECOND, T0 + SECOND, state.due)
    decision = end(CRON, asked._replace(node=1), "failed", T0 + 2 * SECOND)
    assert (decision.state.due, decision.state.ready, decision.state.resume) == (state.due, state.due, None)


def test_a_finished_job_can_be_run_again_and_is_finished_afterwards() -> None:
    done = end(ONCE, claimed(ONCE), "succeeded", T0).state
    decision = end(ONCE, lifecycle.request(done, T0 + DAY)._replace(node=1), "succeeded", T0 + DAY)
    assert decision.run is not None
    assert decision.run.number == 2
    assert decision.state.ready is None


def test_a_paused_job_can_be_run_and_stays_paused() -> None:
    paused = EVERY._replace(options=Options(paused=True))
    asked = lifecycle.request(planned(paused), T0 + 5 * SECOND)
    assert asked.ready == T0 + 5 * SECOND
    decision = end(paused, asked._replace(node=1), "succeeded", T0 + 6 * SECOND)
    assert (decision.state.ready, decision.state.due) == (None, T0)


def test_asking_for_a_run_during_a_back_off_makes_the_next_attempt_at_once() -> None:
    job = Job("flaky", None, runonce=True, retry_times=3, options=Options(backoff=HOUR))
    waiting = end(job, claimed(job), "failed", T0).state
    asked = lifecycle.request(waiting, T0 + SECOND)
    assert (asked.ready, asked.attempt, asked.due) == (T0 + SECOND, 1, T0)


def test_cancelling_a_wait_for_the_next_attempt_ends_the_run() -> None:
    job = EVERY._replace(retry_times=3, options=Options(backoff=HOUR))
    waiting = end(job, claimed(job), "failed", T0).state
    decision = lifecycle.after_cancel(with_defaults(job, NONE), waiting, T0 + SECOND, "UTC")
    assert decision.run is not None
    assert (decision.run.outcome, decision.run.attempts) == ("cancelled", 1)
    assert decision.state.due == T0 + 10 * SECOND


def test_a_wait_that_is_cancelled_by_a_clock_that_is_behind_does_not_bring_the_due_time_again() -> None:
    job = EVERY._replace(retry_times=1, options=Options(backoff=5 * SECOND))
    waiting = end(job, claimed(job), "failed", T0 + SECOND).state
    decision = lifecycle.after_cancel(with_defaults(job, NONE), waiting, T0 - SECOND, "UTC")
    assert decision.state.due == T0 + 10 * SECOND


# Nodes that die


def test_a_lost_run_is_run_again_at_once_also_after_the_clock_was_set_back() -> None:
    again = lose(ONCE, claimed(ONCE)._replace(started=T0)).state
    assert again.ready == T0 + MINUTE
    put_back = lifecycle.after_clock_set_back(ONCE, again, T0 - HOUR, "UTC", False)
    assert put_back.ready == T0 - HOUR


def lose(job: Job, state: JobState) -> Decision:
    return lifecycle.after_loss(with_defaults(job, NONE), state, T0 + MINUTE, "UTC", "its node died")


def test_a_claim_that_had_not_started_is_given_back_without_a_trace() -> None:
    decision = lose(ONCE, claimed(ONCE))
    assert decision.run is None
    assert (decision.state.node, decision.state.ready, decision.state.number) == (0, T0, 1)


def test_a_started_run_is_recorded_as_lost_and_run_again_for_the_same_due_time() -> None:
    decision = lose(ONCE, claimed(ONCE)._replace(started=T0))
    assert decision.run is not None
    assert (decision.run.outcome, decision.run.number, decision.run.due) == ("lost", 1, T0)
    assert (decision.state.node, decision.state.number, decision.state.due, decision.state.ready) == (
        0,
        2,
        T0,
        T0 + MINUTE,
    )


def test_with_on_lost_fail_a_lost_run_is_not_run_again() -> None:
    job = ONCE._replace(options=Options(on_lost="fail"))
    decision = lose(job, claimed(job)._replace(started=T0))
    assert decision.run is not None
    assert decision.run.outcome == "lost"
    assert decision.state.ready is None


def test_a_run_that_took_its_node_down_three_times_is_failed() -> None:
    state = claimed(ONCE)
    outcomes = []
    for _ in range(3):
        decision = lose(ONCE, state._replace(started=T0, node=1))
        assert decision.run is not None
        outcomes.append(decision.run.outcome)
        state = decision.state
    assert outcomes == ["lost", "lost", "failed"]
    assert state.ready is None


def test_a_job_whose_task_is_unknown_here_is_offered_again_later() -> None:
    state = lifecycle.unresolved(claimed(ONCE), "unknown task 'task2'", T0)
    assert (state.node, state.due, state.ready, state.attempt) == (0, T0, T0 + 30 * SECOND, 0)
    assert state.error == "unknown task 'task2'"


# Clocks that jump


def test_a_clock_set_back_does_not_put_an_interval_off() -> None:
    state = claimed(EVERY)._replace(due=T0 + 100 * DAY)
    decision = end(EVERY, state, "succeeded", T0 + 5 * SECOND, T0 + 5 * SECOND)
    assert decision.state.due is not None
    assert T0 + 5 * SECOND < decision.state.due <= T0 + 15 * SECOND


def test_options_that_are_not_set_come_from_the_defaults() -> None:
    options = effective(Options(timeout=5), Options(timeout=9, backoff=7))
    assert (options.timeout, options.backoff, options.catch_up) == (5, 7, "once")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(-8_000, 8_000)), min_size=2, max_size=30))
def test_no_jump_of_the_clock_records_a_due_time_of_an_interval_twice(steps: list[tuple[int, int]]) -> None:
    """Each step: how long the run takes, and how far the clock is put before the next, in milliseconds."""
    job = with_defaults(Job("a", "1s", id=1), Options())
    now, recorded = T0, []
    current = lifecycle.after_change(job, None, now, "UTC")
    for took, by in steps:
        assert current.due is not None
        now = max(now, current.due)
        taken = lifecycle.after_claim(job, current._replace(node=1), now, "UTC").state
        began, now = now, now + took * 1_000 + by * 1_000  # it is put while the run goes on
        decision = lifecycle.after_attempt(job, taken, Ended("succeeded", began, now), "UTC", 0.5)
        assert decision.run is not None
        recorded.append(decision.run.due)
        now -= abs(by) * 500  # and again while it waits
        current = lifecycle.after_clock_set_back(job, decision.state, now, "UTC", False)
        assert current.due is not None
        assert current.due <= now + SECOND + len(steps) * 2  # it is never further away than its interval
    assert len(recorded) == len(set(recorded))


def test_a_requested_run_that_failed_is_on_record_when_its_job_is_deleted_before_the_retry() -> None:
    """Also when the claim sees the deletion first."""
    job = CRON._replace(retry_times=3, options=Options(backoff=MINUTE))
    asked = lifecycle.request(planned(job), T0)
    failed = end(job, asked._replace(node=1, token=1), "failed", T0 + SECOND)
    assert (failed.run, failed.state.attempt) == (None, 1)
    decision = take(job._replace(deleted=True), failed.state._replace(node=1, token=2), T0 + 2 * MINUTE)
    assert decision.run is not None
    assert (decision.run.number, decision.run.outcome, decision.run.attempts) == (1, "superseded", 1)
    assert (decision.state.node, decision.state.ready, decision.state.manual, decision.state.number) == (
        0,
        None,
        False,
        2,
    )


# What a person does between the runs of a job; `turn`: a node takes it, if it is due, and it ends well.
COMMANDS = ("run", "pause", "resume", "rm", "restore", "turn")
# A claim may see a change of the definition before the change itself is looked at: `late`.
LATE = ("run", "late rm", "restore", "late spoil", "mend", "turn")
STEP = 50 * SECOND + 7


@pytest.mark.parametrize("words", [COMMANDS, LATE], ids=["looked at", "late"])
@pytest.mark.parametrize("catch_up", ["once", "none", "all"])
@pytest.mark.parametrize("interval", ["*/5 * * * *", "2m"])
def test_no_due_time_runs_twice_and_no_number_is_used_twice_after_any_five_commands(
    interval: str, catch_up: str, words: tuple[str, ...]
) -> None:
    job = with_defaults(Job("a", interval, id=1, options=Options(catch_up=catch_up)), Options())
    first = lifecycle.after_change(job, None, T0, "UTC")
    for commands in product(words, repeat=5):
        current, state, now = first, job, T0
        runs: list[tuple[int, int]] = []
        for command in commands:
            now += STEP
            state = after_command(state, command)
            if command == "run" and not state.deleted:
                current = lifecycle.request(lifecycle.after_change(state, current, now, "UTC"), now)
            elif command == "turn" or command.startswith("late"):
                current = after_cycle(state, current, now, runs)
            else:
                current = lifecycle.after_change(state, current, now, "UTC")
        for _ in range(3):
            now = max(now + 1, current.ready or 0)
            current = after_cycle(state, current, now, runs)
        assert len({due for _, due in runs}) == len({number for number, _ in runs}) == len(runs), (commands, runs)
        assert runs == sorted(runs), (commands, runs)


def after_command(job: Job, command: str) -> Job:
    paused = {"pause": True, "resume": False}.get(command, job.options.paused)
    deleted = {"rm": True, "late rm": True, "restore": False}.get(command, job.deleted)
    sound = str(job.interval).removeprefix("not ")
    interval = {"late spoil": f"not {sound}", "mend": sound}.get(command, job.interval)
    return job._replace(interval=interval, deleted=deleted, options=job.options._replace(paused=paused))


def after_cycle(job: Job, current: JobState, now: int, runs: list[tuple[int, int]]) -> JobState:
    """The state when a node has looked at the job; the runs that are recorded, by number and due time, are added."""
    if current.ready is None or current.ready > now:
        return current
    decision = lifecycle.after_claim(job, current._replace(node=1), now, "UTC")
    done = [decision] if decision.run else []
    if decision.state.node:
        decision = lifecycle.after_attempt(job, decision.state, Ended("succeeded", now, now + 1), "UTC", 0.5)
        done.append(decision)
    runs.extend((one.run.number, one.run.due) for one in done if one.run)
    return decision.state._replace(node=0)


def test_a_job_keeps_its_priority_after_any_outcome_of_a_run() -> None:
    job = with_defaults(Job("a", "1h", retry_times=1, id=1, options=Options(priority=7)), Options())
    state = lifecycle.after_change(job, None, T0, "UTC")
    claimed = state._replace(node=1, token=state.token + 1, started=T0)
    ended = [lifecycle.Ended(outcome, T0, T0 + 1, "why") for outcome in ("succeeded", "failed", "timed_out")]
    steps = [
        lifecycle.after_attempt(job, claimed._replace(attempt=n), one, "UTC", 0.5) for one in ended for n in (0, 1)
    ]
    steps += [
        lifecycle.after_loss(job, claimed, T0 + 1, "UTC", "why"),
        lifecycle.after_cancel(job, claimed, T0 + 1, "UTC"),
    ]
    states = [decision.state for decision in steps] + [
        state,
        lifecycle.request(state, T0),
        lifecycle.give_back(claimed),
        lifecycle.unresolved(claimed, "why", T0),
        lifecycle.repair(job, claimed, T0, "UTC"),
    ]
    assert {one.priority for one in states} == {7}
    lower = job._replace(options=job.options._replace(priority=-7))
    assert lifecycle.after_change(lower, state, T0, "UTC").priority == -7
