"""The judge: a correct record passes, and each wrong one is found."""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobd.claim import DROPPED_NOTICE
from jobd.clock import SECOND, iso
from tests.combine.case import DEADLINE
from tests.combine.errand import NEVER
from tests.combine.judge import judge
from tests.combine.record import REFUSED, Command, Record
from tests.combine.scenario import JobPlan, Scenario

JOBS = (
    JobPlan("a", ("--after", "500ms"), {"mark": 0}),
    JobPlan("b", ("--every", "1s"), {"mark": 0}),
    JobPlan("fresh", ("--every", "1s", "--isolation", "fresh"), {"mark": 0}),
    JobPlan("low", ("--every", "1s", "--priority", "-5"), {"mark": 0}),
    JobPlan("child", ("--after-job", "a", "--after-job", "b"), {"mark": 0}),
    JobPlan("behind", ("--every", "10ms", "--catch-up", "all"), {"mark": 0}),
    JobPlan("daily", ("--cron", "30 9 * * *"), {"mark": 0}),
    JobPlan("program", ("--every", "1s", "--", "sh", "-c", "kill -s 35 $$"), {}),
)
SCENARIO = Scenario(1, "mixed", 20.0, (0.0,), 2, JOBS, ())
AHEAD = 1_764_064_800  # of 2025-11-25T10:00:00Z


def due(second: float) -> str:
    return iso(round((AHEAD + second) * SECOND))


def line(what: str, job: str, run: int, at: float, attempt: int = 1, **more: object) -> dict[str, object]:
    own = {"what": what, "job": job, "run": run, "attempt": attempt, "due": due(run), "token": run, "pid": 7, "at": at}
    if what == "begin":
        own |= {
            "node": 0,
            "version": 0,
            "born": 1,
            "state": {"umask": 18},
            "thorough_state": {"stdin": "null"},
            "mark": 0,
        }
    return own | more


def attempt(job: str, run: int, at: float, number: int = 1, ended: str = "return") -> list[dict[str, object]]:
    value = run if ended == "return" else None
    return [
        line("begin", job, run, at, number),
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


def a_run(record: Record, job: str, run: int, at: float, due_at: float | None = None, **begin: object) -> None:
    """Add a successful run, in its own process."""
    lines = attempt(job, run, at)
    its = {"due": due(at if due_at is None else due_at)}
    for one in lines:
        one |= its | {"pid": 100 + len(record.witness)}
    lines[0] |= begin
    record.witness.extend(lines)
    record.history.insert(0, finished(job, run) | its_times(at) | {"due_time": its["due"]})
    record.output[job, run] = [(1, f"<{job}|{run}|1|0>\n")]


def its_times(at: float) -> dict[str, object]:
    return {"started_time": due(at), "finished_time": due(at + 0.02)}


def command(what: str, job: str = "", asked: float = 2.5, output: str = "", **more: Any) -> Command:
    return Command(what, job, (), asked, asked + 0.1, 0, output, "")._replace(**more)


def clean() -> Record:
    """Job `a` runs at 1 s, 2 s and 9 s, the second time with a retry; jobs `b` and `child` at 1 s."""
    witness = [
        *attempt("child", 1, 1.1),
        *attempt("a", 1, 1.0),
        *attempt("b", 1, 1.005),
        *attempt("a", 2, 2.0, 1, "raise"),
        *attempt("a", 2, 2.1, 2),
        *attempt("a", 3, 9.0),
    ]
    history = [
        finished("a", 3) | its_times(9),
        finished("a", 2, attempts=2),
        finished("b", 1),
        finished("a", 1),
        finished("child", 1),
    ]
    output = {
        ("a", 1): [(1, "<a|1|1|0>\n")],
        ("a", 2): [(1, "<a|2|1|0>\n"), (2, "<a|2|2|0>\n")],
        ("a", 3): [(1, "<a|3|1|0>\n")],
        ("b", 1): [(1, "<b|1|1|0>\n")],
        ("child", 1): [(1, "<child|1|1|0>\n")],
    }
    return Record(
        scenario=SCENARIO,
        started=0.0,
        stopped=20.0,
        ended=21.0,
        ahead=AHEAD,
        names={},
        witness=witness,
        history=history,
        jobs=[{"name": "daily", "next_due": "2025-11-26T08:30:00Z"}],
        output=output,
        unfinished={},
        commands=[],
        logs="all is well\n",
        memory=40_000,
        descriptors=30,
        left=[],
    )


def test_a_correct_record_has_no_faults() -> None:
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
    record.witness[9]["due"] = due(59)
    return record


def an_attempt_twice(record: Record) -> Record:
    record.witness.extend(attempt("a", 2, 2.3, 2))
    return record


def an_overlap(record: Record) -> Record:
    record.witness[5]["at"] = 2.05
    return record


def a_due_time_finished_twice(record: Record) -> Record:
    record.history[0]["due_time"] = due(2)
    return record


def a_due_time_that_goes_back(record: Record) -> Record:
    record.history[0]["due_time"] = due(0)
    return record


def off_the_grid(record: Record) -> Record:
    record.history.append(finished("b", 0) | {"due_time": due(0.5)})
    return record


def too_much_is_caught_up(record: Record) -> Record:
    times = {"due_time": due(1), "started_time": None, "finished_time": due(13)}
    skipped = (
        finished("behind", 1, "skipped") | times | {"missed": 163, "error": "more than 1000 due times were missed"}
    )
    record.history.append(skipped)
    a_run(record, "behind", 2, 13.1, 2.64)
    return record


def another_due_time_than_the_task_got(record: Record) -> Record:
    record.history[0]["due_time"] = due(4)
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


def superseded_without_a_cause(record: Record) -> Record:
    record.history[0]["outcome"] = "superseded"
    return record


def begun_at_another_time(record: Record) -> Record:
    record.history[0]["started_time"] = due(2)
    return record


def a_child_without_its_parents(record: Record) -> Record:
    a_run(record, "child", 2, 5.1)
    a_run(record, "child", 3, 9.1)  # b has succeeded at 1 s only
    return record


def a_child_that_never_hears(record: Record) -> Record:
    record.commands.append(command("pause", "child", 1.5))
    a_run(record, "b", 2, 2)
    record.commands.append(command("resume", "child", 2.5))
    return record


def an_urgent_job_that_waits(record: Record) -> Record:
    for run in range(3):
        a_run(record, "low", run + 1, 14 + run, 14 + run)
    a_run(record, "b", 2, 17, 10)
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


def a_request_whose_number_another_run_has(record: Record) -> Record:
    record.commands.append(command("run", "b", output=json.dumps({"job": "b", "run": 2})))
    a_run(record, "b", 2, 12)
    return record


def a_run_of_a_paused_job(record: Record) -> Record:
    record.commands.append(command("pause", "a"))
    return record


def an_old_definition(record: Record) -> Record:
    record.commands.append(command("set", "a", mark=1))
    return record


def an_old_definition_in_a_retry(record: Record) -> Record:
    record.commands.append(command("set", "a", 1.5, mark=1))
    for one in record.witness[-6:-3]:
        one["at"] = float(one["at"]) + DEADLINE
    for one in record.witness[-3:]:
        one["mark"] = 1
    return record


def an_old_definition_after_it_was_added_again(record: Record) -> Record:
    record.commands.append(command("add", "a", mark=1))
    return record


def a_command_with_a_traceback(record: Record) -> Record:
    record.commands.append(command("list", errors="Traceback (most recent call last):"))
    return record


def a_command_that_never_ends(record: Record) -> Record:
    record.commands.append(command("set", "a", code=NEVER))
    return record


def a_look_that_fails(record: Record) -> Record:
    record.commands.append(command("look", words=("next", "--json"), code=70))
    return record


def a_wait_for_a_job_that_is_gone(record: Record) -> Record:
    record.commands.append(command("run", "b", 2, words=("--wait",), answered=19.0, code=NEVER))
    record.commands.append(command("rm", "b", 2.5))
    return record


def a_wait_that_says_something_else(record: Record) -> Record:
    document = json.dumps({"job": "b", "run": 1, "outcome": "failed"})
    record.commands.append(command("run", "b", 0.5, words=("--wait",), code=1, output=document))
    return record


def a_row_that_is_not_noticed(record: Record) -> Record:
    record.commands.append(command("sql insert", "plain"))
    return record


def a_time_in_the_shells_zone(record: Record) -> Record:
    record.jobs[0]["next_due"] = "2025-11-26T00:30:00Z"
    return record


def a_program_with_another_end(record: Record) -> Record:
    record.history.insert(0, finished("program", 1, "failed") | {"error": "ValueError: 35 is not a valid Signals"})
    return record


def what_an_import_printed(record: Record) -> Record:
    record.output["a", 1][0] = (1, "<import|<a|1|1|0>\n")
    return record


def a_fresh_run_in_a_used_process(record: Record) -> Record:
    a_run(record, "fresh", 1, 12, pid=7)
    return record


def a_fresh_run_whose_process_goes_on(record: Record) -> Record:
    a_run(record, "fresh", 1, 0.5, pid=7)
    return record


def a_handler_that_is_left(record: Record) -> Record:
    record.witness[-3]["state"] = {"umask": 0}
    return record


def a_descriptor_that_is_left(record: Record) -> Record:
    record.witness[-3]["thorough_state"] = {"stdin": "/etc/hostname"}
    return record


def plugins_of_before(record: Record) -> Record:
    record.commands.append(command("reload", mark=1))
    return record


def broken_plugins_that_are_accepted(record: Record) -> Record:
    record.commands.append(command("reload", mark=REFUSED))
    return record


def a_bug_in_the_log(record: Record) -> Record:
    return record._replace(logs="jobd: error: a bug in jobd: KeyError\n")


def a_database_that_is_lost(record: Record) -> Record:
    return record._replace(logs="the database: prepared statement is not known; retrying until it is back\n" * 3)


def a_process_that_is_left(record: Record) -> Record:
    return record._replace(left=[4711])


def a_large_daemon(record: Record) -> Record:
    return record._replace(memory=191 * 1024)


def a_daemon_with_many_descriptors(record: Record) -> Record:
    return record._replace(descriptors=900)


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (another_runs_line, "output"),
        (a_missing_line, "output"),
        (a_mark_is_shown, "output"),
        (what_an_import_printed, "output"),
        (a_number_for_two_due_times, "once_each"),
        (an_attempt_twice, "once_each"),
        (another_due_time_than_the_task_got, "once_each"),
        (an_overlap, "no_overlap"),
        (a_due_time_finished_twice, "due_times"),
        (a_due_time_that_goes_back, "due_times"),
        (off_the_grid, "grid"),
        (a_due_time_passed_over_in_silence, "grid"),
        (too_much_is_caught_up, "grid"),
        (a_run_without_a_record, "recorded"),
        (another_result, "outcomes"),
        (another_outcome, "outcomes"),
        (a_success_that_did_not_run, "outcomes"),
        (too_few_attempts, "outcomes"),
        (lost_without_a_cause, "outcomes"),
        (cancelled_unasked, "outcomes"),
        (superseded_without_a_cause, "outcomes"),
        (begun_at_another_time, "outcomes"),
        (a_child_without_its_parents, "after_others"),
        (a_child_that_never_hears, "after_others"),
        (an_urgent_job_that_waits, "priorities"),
        (an_attempt_after_cancel, "cancelled"),
        (a_run_that_never_happened, "requests"),
        (a_request_whose_number_another_run_has, "requests"),
        (a_run_of_a_paused_job, "out_of_service"),
        (an_old_definition, "in_force"),
        (an_old_definition_in_a_retry, "in_force"),
        (an_old_definition_after_it_was_added_again, "in_force"),
        (a_command_with_a_traceback, "answers"),
        (a_command_that_never_ends, "answers"),
        (a_look_that_fails, "answers"),
        (a_wait_for_a_job_that_is_gone, "waits"),
        (a_wait_that_says_something_else, "waits"),
        (a_row_that_is_not_noticed, "inserted"),
        (a_time_in_the_shells_zone, "zones"),
        (a_program_with_another_end, "programs"),
        (a_fresh_run_in_a_used_process, "fresh"),
        (a_fresh_run_whose_process_goes_on, "fresh"),
        (a_handler_that_is_left, "left_behind"),
        (a_descriptor_that_is_left, "left_behind"),
        (plugins_of_before, "versions"),
        (broken_plugins_that_are_accepted, "versions"),
        (a_bug_in_the_log, "quiet"),
        (a_database_that_is_lost, "quiet"),
        (a_process_that_is_left, "quiet"),
        (a_large_daemon, "quiet"),
        (a_daemon_with_many_descriptors, "quiet"),
    ],
)
def test_each_wrong_record_is_found(plant: Callable[[Record], Record], check: str) -> None:
    found = judge(plant(clean()))
    assert any(text.startswith(f"{check}:") for text in found), found


def test_a_killed_daemon_excuses_the_runs_that_it_did_not_record() -> None:
    record = a_run_without_a_record(clean())
    record.commands.append(command("kill", asked=9.01))
    assert judge(record) == []


def test_the_lines_of_these_tests_have_the_keys_that_the_witness_writes() -> None:
    source = ast.parse((Path(__file__).parent / "witness.py").read_text())
    calls = [one for one in ast.walk(source) if isinstance(one, ast.Call) and ast.unparse(one.func) == "note"]
    written = {key.arg for call in calls if ast.unparse(call.args[0]) == "'begin'" for key in call.keywords}
    assert {"node", "version", "state"} < written
    assert written == line("begin", "a", 1, 0).keys() - line("said", "a", 1, 0).keys()


def test_dropped_lines_are_not_missing_where_the_run_reports_them() -> None:
    record = clean()
    record.output["a", 1] = [(1, DROPPED_NOTICE.format(5))]
    assert judge(record) == []


def test_plugins_that_were_not_accepted_are_found() -> None:
    record = clean()
    record.commands.append(command("reload", asked=0.5, code=1, mark=REFUSED))
    assert judge(record) == []
    record.witness[-3]["version"] = 1
    assert any(text.startswith("versions:") for text in judge(record))


@pytest.mark.parametrize("why", ["but has no socket /state/jobd.sock", "but does not answer"])
def test_a_reload_that_reaches_no_daemon_accepts_no_plugins(why: str) -> None:
    record = plugins_of_before(clean())
    for at, one in enumerate(record.commands):
        if one.what == "reload":
            record.commands[at] = one._replace(code=1, errors=f"jobd: error: jobd is running (pid 7) {why}; wait\n")
    assert judge(record) == []


def test_a_person_may_ask_for_a_run_of_a_paused_job() -> None:
    record = a_run_of_a_paused_job(clean())
    record.commands.append(command("run", "a", 8.5))
    assert judge(record) == []


def test_changes_acknowledged_during_an_outage_have_time_until_its_end() -> None:
    record = an_old_definition(clean())
    record.commands.append(command("away", asked=2.0, answered=8.0))
    assert judge(record) == []


def test_a_requested_run_between_caught_up_due_times_is_correct() -> None:
    record = clean()
    record.commands.append(command("run", "low", 12.0, output=json.dumps({"job": "low", "run": 9})))
    a_run(record, "low", 2, 12.3, 12.2)
    a_run(record, "low", 3, 12.4, 2.0)
    record.commands[0] = record.commands[0]._replace(output=json.dumps({"job": "low", "run": 2}))
    assert judge(record) == []
