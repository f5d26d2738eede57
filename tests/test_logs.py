"""The daemon's log: its exact lines, and the faults that it survives."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobd import logs
from jobd.errors import ConfigError
from jobd.settings import LogSettings

NASTY = '{x} {} <red>a</red> %s "q" \\ \n\x1b[2J\x9b\x7f\u202e\u2028\r\ud800😀 é'


@pytest.fixture(autouse=True)
def _leave_loguru_as_it_was() -> Iterator[None]:
    yield
    logs._State.logger = None
    from loguru import logger

    logger.remove()


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_json_line_has_exactly_level_msg_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup(LogSettings(format="json"))
    logs.log("info", "task1 running.....", "task1", 3)
    (line,) = lines(capsys)
    pattern = r'\{"level":"info","msg":"task1 running\.\.\.\.\.","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"\}'
    assert re.fullmatch(pattern, line)


def test_with_context_a_line_about_a_run_contains_its_job_and_run(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup(LogSettings(format="json", context=True))
    logs.log("error", "no", 'a"b', 3)
    logs.log("error", "no")
    first, second = map(json.loads, lines(capsys))
    assert (first["job"], first["run"]) == ('a"b', 3)
    assert set(second) == {"level", "msg", "time"}


def test_a_message_is_data_and_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("json", "text"):
        logs.setup(LogSettings(format=form, context=True))
        logs.log("info", NASTY, NASTY, 1)
        (line,) = lines(capsys)
        assert line.isprintable()
        assert "<red>a</red>" in line
        if form == "json":
            assert json.loads(line)["msg"] == NASTY
            assert json.loads(line)["job"] == NASTY


def test_a_level_below_the_one_asked_for_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup(LogSettings(level="warning"))
    logs.log("info", "no")
    logs.log("warning", "yes")
    logs.log("no such level", "no")
    assert [line.rpartition(" ")[2] for line in lines(capsys)] == ["yes"]


def test_a_second_set_up_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup(LogSettings())
    logs.setup(LogSettings(format="json"))
    logs.log("info", "once")
    assert len(lines(capsys)) == 1


def test_a_file_is_rotated_and_old_ones_are_removed(tmp_path: Path) -> None:
    logs.setup(LogSettings(format="json", file=str(tmp_path / "jobd.log"), rotation="1KiB", retention=2))
    for number in range(100):
        logs.log("info", f"line {number}")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    assert all(file.stat().st_size <= 1024 for file in files)
    assert json.loads((tmp_path / "jobd.log").read_text().splitlines()[-1])["msg"] == "line 99"


def test_a_file_that_cannot_be_opened_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write the log"):
        logs.setup(LogSettings(file=str(tmp_path / "file" / "jobd.log")))


def test_a_log_that_cannot_be_written_raises_nothing_and_is_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = logs.failures()
    monkeypatch.setattr(logs._State, "loss_reported", False)
    logs.setup(LogSettings())
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stdout", full)
        logs.log("info", "one")
        logs.log("info", "two")
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space"):
            full.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
    assert logs.failures() == before + 2
    assert capsys.readouterr().err.count("\n") == 1


def test_before_set_up_nothing_happens(capsys: pytest.CaptureFixture[str]) -> None:
    logs.log("info", "x")
    assert capsys.readouterr().out == ""


def test_in_the_journal_a_text_line_has_its_priority(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with out.open("w") as file:
        status = os.fstat(file.fileno())
        program = "from jobd import logs, settings; logs.setup(settings.LogSettings()); logs.log('error', 'oh')"
        subprocess.run(
            [sys.executable, "-c", program],
            stdout=file,
            env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
            check=True,
        )
    assert out.read_text() == "<3>oh\n"


def test_importing_the_module_does_not_import_loguru() -> None:
    program = "import sys, jobd.logs; sys.exit('loguru' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
