"""Answers of commands are complete and in the user's terms."""

import os
import subprocess
from pathlib import Path

import pytest

from jobd.clock import SECOND
from tests.cli.conftest import Cli

NOON = 1_798_761_600 * SECOND


def test_show_prints_arguments_and_lists_as_json(jobd: Cli) -> None:
    (jobd.folder / "days").write_text("2026-12-25\n")
    words = ["--arg", 'n={"x": [1, true, null]}', "--arg", "token=é", "--skip-dates", "days"]
    jobd.fine("add", "hello", "--every", "1h", *words)
    shown = jobd.fine("show", "hello").out
    assert 'argument   n={"x": [1, true, null]}\n' in shown
    assert 'argument   token="é"\n' in shown
    assert 'skip_dates ["2026-12-25"]\n' in shown


def test_a_tasks_result_is_shown_where_its_run_is(jobd: Cli) -> None:
    jobd.fine("add", "hello", "--every", "1h")
    run = 'INSERT INTO "run" (job_id, number, due_time, finished_time, attempts, outcome, node_id, result)'
    jobd.sql(f"{run} VALUES (1, 1, {NOON}, {NOON}, 1, 'succeeded', 1, '{{\"sent\": 3}}')")
    jobd.sql(f"{run} VALUES (1, 2, {NOON + 1}, {NOON + 1}, 1, 'succeeded', 1, NULL)")
    jobd.sql("UPDATE schedule SET number = 3")
    assert [run["result"] for run in jobd.fine("history", "--json").json] == [None, {"sent": 3}]
    assert [run["result"] for run in jobd.fine("show", "hello", "--json").json["runs"]] == [None, {"sent": 3}]
    assert '{"sent": 3}' in jobd.fine("show", "hello").out
    assert '{"sent": 3}' in jobd.fine("history").out


def test_a_pool_that_is_not_configured_here_is_pointed_out(jobd: Cli) -> None:
    words = ["hello", "--every", "1h"]
    assert jobd.fine("add", *words).err == ""
    for answer in (jobd.fine("set", "hello", "--pool", "nope"), jobd.fine("add", "report", *words[1:], "--pool", "no")):
        assert answer.err.startswith("jobd: warning: no pool 'no")
        assert answer.err.count("\n") == 1
    assert jobd.fine("set", "hello", "--retry", "1").err == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_init_on_a_full_disk_names_the_file_and_leaves_nothing(jobd: Cli, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", disk], check=True)
    try:
        (disk / "ballast").write_bytes(bytes(4096))
        answer = jobd("init", str(disk))
        assert answer.code == 1
        assert answer.err == f"jobd: error: cannot write {disk}/jobd.toml: No space left on device\n"
        assert os.listdir(disk) == ["ballast"]
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('state_dir = "jobd.toml"', "the state directory {}/jobd.toml is a file; give jobd a folder of its own"),
        ('plugins = ""', "plugins: invalid value '': give a text that is not empty"),
        ("plugins = 3", "plugins: invalid value 3: give a text in quotes"),
        ('[log]\nfile = "nowhere/x.log"', "cannot write the log {0}/nowhere/x.log: there is no folder {0}/nowhere"),
    ],
)
def test_a_bad_path_in_the_configuration_is_named_with_its_fault(jobd: Cli, config: str, words: str) -> None:
    (jobd.folder / "jobd.toml").write_text(config)
    for more in ([], ["--foreground"]):
        answer = jobd("start", *more)
        assert answer.code == 78
        assert words.format(jobd.folder) in answer.err
    assert not (jobd.folder / "nowhere").exists()
