"""The judge and the shrinker: a record in which all is well passes, and each wrong one is found."""

import json
from collections.abc import Callable

import pytest

from tests.combine.judge import DEADLINE, judge
from tests.combine.play import Command, Record
from tests.combine.scenario import JobPlan, Scenario, Step, draw, from_json
from tests.combine.shrink import shrink

SCENARIO = Scenario(1, 20.0, 1, 2, (JobPlan("a", (), {}), JobPlan("b", ("--every", "1s"), {})), ())


def due(second: int) -> str:
    return f"2026-11-25T10:00:{second:02}Z"


def line(what: str, job: str, run: int, at: float, attempt: int = 1, **more: object) -> dict[str, object]:
    own = {"what": what, "job": job, "run": run, "attempt": attempt, "due": due(run), "token": run, "pid": 7, "at": at}
    return own | more


def attempt(job: str, run: int, at: float, number: int = 1, ended: str = "return") -> list[dict[str, object]]:
    value = run if ended == "return" else None
    return [
        line("begin", job, run, at, number, mark=0),
        line("said", job, run, at + 0.01, number, lines=1),
        line("end", job, run, at + 0.02, number, ended=ended, value=value, lines=1),
    ]


def finished(job: str, run: int, outcome: str = "succeeded", attempts: int = 1) -> dict[str, object]:
    return {
        "job": job,
        "run": run,
        "due_time": due(run),
        "started_time": due(run),
        "finished_time": due(run),
        "attempts": attempts,
        "outcome": outcome,
        "result": run if outcome == "succeeded" else None,
        "error": None,
        "missed": 0,
    }


def command(what: str, job: str = "", asked: float = 2.5, output: str = "", **more: object) -> Command:
    return Command(what, job, (), asked, asked + 0.1, 0, output, "")._replace(**more)


def clean() -> Record:
    """Job `a` runs at 1 s, 2 s and 9 s, the second time with a retry; job `b` at 1 s."""
    witness = [
        *attempt("a", 1, 1.0),
        *attempt("b", 1, 1.005),
        *attempt("a", 2, 2.0, 1, "raise"),
        *attempt("a", 2, 2.1, 2),
        *attempt("a", 3, 9.0),
    ]
    history = [finished("a", 3), finished("a", 2, attempts=2), finished("b", 1), finished("a", 1)]
    output = {
        ("a", 1): [(1, "<a|1|1|0>\n")],
        ("a", 2): [(1, "<a|2|1|0>\n"), (2, "<a|2|2|0>\n")],
        ("a", 3): [(1, "<a|3|1|0>\n")],
        ("b", 1): [(1, "<b|1|1|0>\n")],
    }
    return Record(SCENARIO, 0.0, 20.0, witness, history, [], output, {}, [], "all is well\n", 40_000, 30, [])


def test_nothing_is_wrong_with_a_record_in_which_all_is_well() -> None:
    assert judge(clean()) == []


def another_runs_line(record: Record) -> Record:
    record.output["b", 1][0] = (1, "<a|1|1|0>\n<b|1|1|0>\n")
    return record


def a_missing_line(record: Record) -> Record:
    del record.output["a", 1]
    return record


def a_mark_is_shown(record: Record) -> Record:
    record.output["a", 1][0] = (1, "<a|1|1|0>\x1eend 1947\n")
    return record


def a_number_for_two_due_times(record: Record) -> Record:
    record.witness[6]["due"] = due(59)
    return record


def an_attempt_twice(record: Record) -> Record:
    record.witness.extend(attempt("a", 2, 2.3, 2))
    return record


def an_overlap(record: Record) -> Record:
    record.witness[2]["at"] = 2.05
    return record


def a_due_time_finished_twice(record: Record) -> Record:
    record.history[0]["due_time"] = due(2)
    return record


def a_due_time_that_goes_back(record: Record) -> Record:
    record.history[0]["due_time"] = due(0)
    return record


def off_the_grid(record: Record) -> Record:
    record.history.append(finished("b", 0) | {"due_time": "2026-11-25T10:00:00.5Z"})
    return record


def a_due_time_passed_over_in_silence(record: Record) -> Record:
    record.history.insert(0, finished("b", 3, "skipped"))
    return record


def a_run_without_a_record(record: Record) -> Record:
    del record.history[0]
    return record


def another_result(record: Record) -> Record:
    record.history[0]["result"] = 4
    return record


def another_outcome(record: Record) -> Record:
    record.history[0]["outcome"] = "failed"
    return record


def a_success_that_did_not_run(record: Record) -> Record:
    record.history.insert(0, finished("b", 2))
    return record


def too_few_attempts(record: Record) -> Record:
    record.history[1]["attempts"] = 1
    return record


def lost_without_a_cause(record: Record) -> Record:
    record.history[0]["outcome"] = "lost"
    return record


def cancelled_unasked(record: Record) -> Record:
    record.history[0]["outcome"] = "cancelled"
    return record


def an_attempt_after_cancel(record: Record) -> Record:
    record.commands.append(command("cancel", "a", 2.05))
    record.witness.extend(attempt("a", 2, 2.2 + DEADLINE, 3))
    record.history[1]["attempts"] = 3
    record.output["a", 2].append((3, "<a|2|3|0>\n"))
    return record


def a_run_that_never_happened(record: Record) -> Record:
    record.commands.append(command("run", "b", output=json.dumps({"job": "b", "run": 2})))
    return record


def a_run_of_a_paused_job(record: Record) -> Record:
    record.commands.append(command("pause", "a"))
    return record


def an_old_definition(record: Record) -> Record:
    record.commands.append(command("set", "a", mark=1))
    return record


def a_command_with_a_traceback(record: Record) -> Record:
    record.commands.append(command("list", errors="Traceback (most recent call last):"))
    return record


def a_bug_in_the_log(record: Record) -> Record:
    return record._replace(logs="jobd: error: a bug in jobd: KeyError\n")


def a_process_that_is_left(record: Record) -> Record:
    return record._replace(left=[4711])


def a_large_daemon(record: Record) -> Record:
    return record._replace(memory=191 * 1024)


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (another_runs_line, "output"),
        (a_missing_line, "output"),
        (a_mark_is_shown, "output"),
        (a_number_for_two_due_times, "once_each"),
        (an_attempt_twice, "once_each"),
        (an_overlap, "no_overlap"),
        (a_due_time_finished_twice, "due_times"),
        (a_due_time_that_goes_back, "due_times"),
        (off_the_grid, "grid"),
        (a_due_time_passed_over_in_silence, "grid"),
        (a_run_without_a_record, "recorded"),
        (another_result, "outcomes"),
        (another_outcome, "outcomes"),
        (a_success_that_did_not_run, "outcomes"),
        (too_few_attempts, "outcomes"),
        (lost_without_a_cause, "outcomes"),
        (cancelled_unasked, "outcomes"),
        (an_attempt_after_cancel, "commands"),
        (a_run_that_never_happened, "commands"),
        (a_run_of_a_paused_job, "commands"),
        (an_old_definition, "in_force"),
        (a_command_with_a_traceback, "commands"),
        (a_bug_in_the_log, "quiet"),
        (a_process_that_is_left, "quiet"),
        (a_large_daemon, "quiet"),
    ],
)
def test_what_is_wrong_is_found(plant: Callable[[Record], Record], check: str) -> None:
    found = judge(plant(clean()))
    assert any(text.startswith(f"{check}:") for text in found), found


def test_a_daemon_that_was_killed_excuses_what_it_did_not_record() -> None:
    record = a_run_without_a_record(clean())
    record.commands.append(command("kill", asked=9.01))
    assert judge(record) == []


def test_a_seed_gives_the_same_scenario_each_time_and_survives_json() -> None:
    for seed in range(50):
        scenario = draw(seed, 20, shared=True)
        assert draw(seed, 20, shared=True) == scenario
        assert from_json(scenario.to_json()) == scenario


def test_a_failing_scenario_is_cut_down_to_what_it_needs() -> None:
    scenario = draw(7, 20, shared=False)
    wanted = Step(3.0, "cancel", scenario.jobs[-1].name)
    scenario = scenario._replace(steps=(*scenario.steps, wanted))
    small = shrink(scenario, lambda one: wanted in one.steps and scenario.jobs[-1] in one.jobs, 500)
    assert small.steps == (wanted,)
    assert small.jobs == scenario.jobs[-1:]
