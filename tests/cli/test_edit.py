"""From options to a definition, without a database."""

from typing import Any

import pytest

from jobd.cli.edit import NONE_GIVEN, edited
from jobd.cli.options import CLEARED, Argument, Assignment
from jobd.clock import MINUTE, SECOND
from jobd.errors import BadValue
from jobd.job import Job, Options

NOW = 1_800_000_000 * SECOND
OLD = Job("j", "10s", False, 3, Options(task="t", timeout=5 * SECOND, args={"a": 1, "pin": 2}, secrets=("pin",)))


def change(job: Job = OLD, command: tuple[str, ...] | None = None, **given: Any) -> Job:
    return edited(job, {**NONE_GIVEN, **given}, command, NOW, "UTC")


def test_an_option_that_is_not_given_stays() -> None:
    assert change() == OLD
    assert change(retry_times=5) == OLD._replace(retry_times=5)


@pytest.mark.parametrize(
    ("given", "interval", "runonce"),
    [
        ({"every": "1h30m"}, "1h30m", False),
        ({"after": "10s"}, "after 10s", False),
        ({"cron": "*/5 * * * *"}, "*/5 * * * *", False),
        ({"cron": "@daily"}, "@daily", False),
        ({"at": "2026-12-24T18:00"}, "at 2026-12-24T18:00", False),
        ({"in_": "20m"}, "at 2027-01-15T08:20:00.000000Z", False),
        ({"in_": "20 minutes"}, "at 2027-01-15T08:20:00.000000Z", False),
        ({"after": "5 minutes"}, "after 5m", False),
        ({"every": "every friday at 9"}, "0 9 * * FRI", False),
        ({"interval": "every 5s"}, "every 5s", False),
        ({"once": True}, None, True),
        ({"cron": "0 0 * * *", "once": True}, "0 0 * * *", True),
    ],
)
def test_each_schedule_option_gives_the_text_of_the_column(given: dict[str, Any], interval: str, runonce: bool) -> None:
    job = change(**given)
    assert (job.interval, job.runonce) == (interval, runonce)


def test_a_new_schedule_takes_the_place_of_run_once() -> None:
    assert change(Job("j", None, True), every="10s") == Job("j", "10s", False)


@pytest.mark.parametrize(
    "given", [{"every": "10s", "cron": "* * * * *"}, {"every": "* * * * *"}, {"cron": "10s"}, {"in_": "soon"}]
)
def test_contradictions_and_nonsense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BadValue):
        change(**given)


def test_an_option_goes_back_to_its_default() -> None:
    assert change(timeout=CLEARED).options.timeout is None
    assert change(timeout=MINUTE).options.timeout == MINUTE


def test_arguments_are_added_changed_and_taken_away() -> None:
    options = change(args=(Assignment("a", 2),), secret_args=(Assignment("key", "s"),), no_args=("pin",)).options
    assert options.args == {"a": 2, "key": "s"}
    assert options.secrets == ("key",)


def test_an_argument_given_openly_is_no_longer_secret() -> None:
    assert change(args=(Assignment("pin", 3),)).options.secrets == ()


@pytest.mark.parametrize(
    "given",
    [
        {"args": (Assignment("a", 1), Assignment("a", 2))},
        {"args": (Assignment("a", 1),), "no_args": ("a",)},
        {"no_args": ("never",)},
    ],
)
def test_an_argument_is_named_once_and_must_exist_to_be_taken_away(given: dict[str, Any]) -> None:
    with pytest.raises(BadValue):
        change(**given)


def test_a_program_takes_the_place_of_the_task_and_back() -> None:
    program = change(command=("echo", "hi"))
    assert program.options.command == ("echo", "hi")
    assert (program.options.task, program.options.args) == (None, {})
    assert change(program, task="j").options.command is None
    with pytest.raises(BadValue):
        change(task="t", command=("echo",))


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("n=3", 3),
        ("n=true", True),
        ('n=["a",null]', ["a", None]),
        ("n=plain text", "plain text"),
        ("n=", ""),
        ("n=a=b", "a=b"),
        ('n="3"', "3"),
        ("n=007", "007"),
        ("n=NaN", "NaN"),
        ("n=" + "[" * 100_000, "[" * 100_000),
    ],
)
def test_a_value_is_json_where_it_is_json_and_text_where_not(typed: str, value: object) -> None:
    assert Argument().convert(typed, None, None) == ("n", value)


@pytest.mark.parametrize("typed", ["n", "=3", "a b=3", "1=2", ""])
def test_an_argument_that_is_not_k_v_is_refused(typed: str) -> None:
    with pytest.raises(BadValue, match="K=V"):
        Argument().convert(typed, None, None)


def test_a_secret_is_not_repeated_in_the_error() -> None:
    with pytest.raises(BadValue) as caught:
        Argument(secret=True).convert("a b=hunter2", None, None)
    assert "hunter2" not in str(caught.value)
