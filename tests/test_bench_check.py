"""`make bench-check` fails if a figure has become worse, and its message says what to do."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import check, counts
from benchmarks.common import installation

STORED = {"statements": 100.0, "processor time / fixed work": 0.5}


@pytest.fixture
def baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A baseline of its own."""
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps({"python": check.VERSION, "figures": STORED}))
    monkeypatch.setattr(check, "BASELINE", path)
    monkeypatch.setattr(sys, "argv", ["check"])
    return path


def measured(monkeypatch: pytest.MonkeyPatch, **change: float) -> None:
    monkeypatch.setattr(check, "measure", lambda: STORED | change)


def test_unchanged_figures_pass() -> None:
    assert check.compare(STORED, STORED) == []


def test_better_and_a_little_worse_pass() -> None:
    assert check.compare(STORED, {"statements": 129.0, "processor time / fixed work": 0.1}) == []


def test_a_figure_worse_by_more_than_30_percent_is_reported_with_both_values_and_advice() -> None:
    (problem,) = check.compare(STORED, STORED | {"processor time / fixed work": 0.7})
    assert "processor time / fixed work: 0.7 measured, 0.5 stored: 40 % worse" in problem
    assert "make bench-baseline" in problem


def test_a_figure_on_one_side_only_is_reported() -> None:
    assert "nothing stored" in check.compare({}, {"new": 1.0})[0]
    assert "measured no more" in check.compare({"old": 1.0}, {})[0]


def test_the_program_fails_on_a_planted_slowdown(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(monkeypatch, statements=200.0)
    assert check.main() == 1
    assert "WORSE: statements: 200 measured, 100 stored: 100 % worse" in capsys.readouterr().err


def test_the_program_passes_when_nothing_is_worse(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch)
    assert check.main() == 0


def test_write_stores_the_measured_figures(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, statements=200.0)
    monkeypatch.setattr(sys, "argv", ["check", "--write"])
    assert check.main() == 0
    assert json.loads(baseline.read_text())["figures"]["statements"] == 200.0


def test_figures_of_another_python_are_not_compared(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline.write_text(json.dumps({"python": "2.7", "figures": STORED}))
    measured(monkeypatch, statements=200.0)
    assert check.main() == 0
    assert "SKIPPED" in capsys.readouterr().err


def test_a_command_counts_the_same_each_time_and_more_when_it_has_more_to_do() -> None:
    with installation() as jobd:
        jobd.define(10, lambda number: 'interval = "1h"')
        few = [counts.command(jobd, ["list"], ["list"])[0] for _ in range(2)]
        jobd.define(40, lambda number: 'interval = "1h"')
        more = counts.command(jobd, ["list"], ["list"])[0]
    assert few[0] == pytest.approx(few[1], rel=0.05)
    assert more > few[0] * check.WORSE
