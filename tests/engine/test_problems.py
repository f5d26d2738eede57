"""The problem of an invalid job is logged once."""

import pytest

from jobd import logs
from jobd.engine.problems import MAX_REMEMBERED, LoggedProblems


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(logs, "log", lambda level, message, job: said.append(f"{level} {job}: {message}"))
    return said


def test_a_problem_is_logged_once_and_a_different_one_again(said: list[str]) -> None:
    problems = LoggedProblems()
    for name, problem in [("a", "bad"), ("a", "bad"), ("b", "bad"), ("a", "worse"), ("a", "bad")]:
        problems.log(name, problem)
    assert said == [
        "error a: a is invalid and will not run: bad",
        "error b: b is invalid and will not run: bad",
        "error a: a is invalid and will not run: worse",
    ]


def test_the_memory_for_problems_is_bounded(said: list[str]) -> None:
    problems = LoggedProblems()
    for number in range(MAX_REMEMBERED):
        problems.log(f"job{number}", "bad")
    problems.log("job0", "bad")
    assert len(said) == MAX_REMEMBERED
    problems.log("one more", "bad")
    problems.log("job0", "bad")
    assert len(said) == MAX_REMEMBERED + 2
