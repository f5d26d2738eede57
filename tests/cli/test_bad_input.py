"""Bad input gets one clear line and the right exit code, changes nothing, and shows no traceback. Real processes."""

import os
import sqlite3
from collections.abc import Callable

import pytest

from tests.cli.conftest import Cli

Refuse = Callable[..., str]


@pytest.fixture(autouse=True)
def _a_job(jobd: Cli) -> None:
    jobd.fine("add", "hello", "--every", "1h")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lst"], "did you mean list"),
        (["list", "--jsn"], "did you mean --json"),
        (["add"], "missing argument"),
        (["add", "--every", "10s"], "missing argument"),
        (["add", "report", "more", "--every", "10s"], "unexpected extra argument"),
        (["add", "", "--every", "10s"], "empty"),
        (["add", "   ", "--every", "10s"], "blank"),
        (["add", " x", "--every", "10s"], "blank"),
        (["add", "n" * 256, "--every", "10s"], "256 characters"),
        (["add", "n" * 100_000, "--every", "10s"], "100000 characters"),
        (["add", "a\nb", "--every", "10s"], "U+000A"),
        (["add", "a\x1b[2Jb", "--every", "10s"], "U+001B"),
        (["add", "a\u202eb", "--every", "10s"], "U+202E"),
        (["add", os.fsdecode(b"a\xff"), "--every", "10s"], "U+DCFF"),
        (["add", "report"], "--every"),
        (["add", "report", "--every", "0s"], "0s"),
        (["add", "report", "--every", "-5s"], "-5s"),
        (["add", "report", "--every", "nan"], "nan"),
        (["add", "report", "--every", "10"], "10"),
        (["add", "report", "--every", "9ms"], "9ms"),
        (["add", "report", "--every", "99999999999999999999s"], "99999999999999999999s"),
        (["add", "report", "--every", "٣s"], "u0663"),
        (["add", "report", "--cron", "30 2 31 2 *"], "30 2 31 2 *"),
        (["add", "report", "--cron", "61 * * * *"], "61"),
        (["add", "report", "--at", "tomorrow"], "tomorrow"),
        (["add", "report", "--at", "2026-02-30T10:00"], "2026-02-30"),
        (["add", "report", "--interval", ""], ""),
        (["add", "report", "--interval", "x" * 300], ""),
        (["add", "report", "--every", "10s", "--tz", "Mars/Phobos"], "Mars/Phobos"),
        (["add", "report", "--every", "10s", "--tz", "../../etc/passwd"], "passwd"),
        (["add", "report", "--every", "10s", "--retry", "-1"], "-1"),
        (["add", "report", "--every", "10s", "--retry", "3.5"], "3.5"),
        (["add", "report", "--every", "10s", "--retry", "1e3"], "1e3"),
        (["add", "report", "--every", "10s", "--retry", str(2**63)], str(2**63)),
        (["add", "report", "--every", "10s", "--timeout", "soon"], "--timeout"),
        (["add", "report", "--every", "10s", "--backoff", "-1s"], "--backoff"),
        (["add", "report", "--every", "10s", "--arg", "novalue"], "K=V"),
        (["add", "report", "--every", "10s", "--arg", "a b=1"], "K=V"),
        (["add", "report", "--every", "10s", "--arg", "n=" + "[" * 40 + "]" * 40], "nested"),
        (["add", "report", "--every", "10s", "--arg", "n=" + "x" * 70_000], "bytes"),
        (["add", "report", "--every", "10s", "--catch-up", "maybe"], "maybe"),
        (["add", "report", "--every", "10s", "--priority", "1000"], "1000"),
        (["add", "report", "--every", "10s", "--"], "command is empty"),
        (["add", "report", "--every", "10s", "--", "echo", "x" * 70_000], "the command takes 70012 bytes"),
        (["add", "report", "--every", "10s", "--task", "t" * 256], "the task name has 256 characters"),
        (["add", "report", "--every", "10s", "--task", "hello", "--", "ls"], "either a task or a program"),
        (["add", "report", "--every", "10s", "--once", "--cron", "@daily"], "contradict"),
        (["add", "hallo", "--every", "10s"], "did you mean hello"),
        (["add", "x", "--task", "nosuch", "--every", "10s"], "'nosuch'"),
        (["set", "hello"], "nothing to change"),
        (["set", "hello", "--every", "often"], "often"),
        (["set", "hello", "--task", "nosuch"], "'nosuch'"),
        (["set", "hello", "--no-arg", "never"], "'never'"),
        (["next", "-n", "0"], "0"),
        (["history", "-n", "x"], "x"),
        (["logs", "hello", "--run", "-1"], "-1"),
    ],
)
def test_wrong_usage_and_bad_values_are_reported_in_one_line(refused: Refuse, words: list[str], message: str) -> None:
    assert message in refused(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["add", "hello", "--every", "10s"], "exists"),
        (["set", "helo", "--retry", "1"], "did you mean 'hello'"),
        (["show", "helo"], "did you mean 'hello'"),
        (["rm", "hello", "nosuch"], "'nosuch'"),
        (["restore", "hello"], "not deleted"),
        (["pause", "nosuch"], "'nosuch'"),
        (["run", "nosuch"], "'nosuch'"),
        (["run", "hello", "--wait"], "jobd start"),
        (["cancel", "hello"], "not running"),
        (["history", "nosuch"], "'nosuch'"),
        (["logs", "nosuch"], "'nosuch'"),
        (["logs", "hello", "--run", "7"], "no run 7"),
        (["apply", "nosuch.toml", "--yes"], "nosuch.toml"),
        (["apply", "plugins", "--yes"], "plugins"),
        (["export", "-o", "/nosuch/folder/x"], "/nosuch/folder/x"),
    ],
)
def test_an_impossible_command_is_reported_in_one_line(refused: Refuse, words: list[str], message: str) -> None:
    assert message in refused(*words, code=1)


def test_force_stores_a_job_whose_task_is_unknown(jobd: Cli) -> None:
    jobd.fine("add", "later", "--every", "10s", "--force")
    assert [job["name"] for job in jobd.fine("list", "--json").json] == ["hello", "later"]


def test_names_in_every_form_are_plain_text(jobd: Cli) -> None:
    names = ["x'; DROP TABLE job;--", "%s", "{0}", "$(id)", "NULL", "0", "../../etc/passwd", "a\\b", "j😀b", "Hello"]
    for name in names:
        jobd.fine("add", name, "--every", "1h", "--task", "hello")
    assert sorted(job["name"] for job in jobd.fine("list", "--json").json) == sorted([*names, "hello"])
    assert jobd("add", "cafe\u0301", "--every", "1h", "--task", "hello").code == 0
    assert "exists" in jobd("add", "caf\u00e9", "--every", "1h", "--task", "hello").err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("databse = 'sqlite:///x.db'\n", "databse"),
        ("workers = 'two'\n", "workers"),
        ("workers = \n", "line 1"),
    ],
)
def test_a_bad_configuration_is_78_and_names_file_and_key(jobd: Cli, content: str, message: str) -> None:
    (jobd.folder / "jobd.toml").write_text(content)
    for words in (["list"], ["list", "-a", "--json", "x"], ["add", "x", "--every", "10s"], ["show", "hello"]):
        answer = jobd(*words)
        assert answer.code == 78, answer
        assert "jobd.toml" in answer.err
        assert message in answer.err


def test_a_configuration_that_is_not_there_is_78(jobd: Cli) -> None:
    answer = jobd("--config", "nosuch.toml", "list")
    assert answer.code == 78, answer
    assert "nosuch.toml" in answer.err


READ_COMMANDS = (["list"], ["list", "*", "--json"], ["show", "hello"], ["history"], ["next"], ["logs", "hello"])


def test_a_missing_database_exits_with_4_and_is_not_created_by_reading(jobd: Cli) -> None:
    (jobd.folder / "jobd.db").unlink()
    for words in READ_COMMANDS:
        answer = jobd(*words)
        assert (answer.code, answer.err.count("\n")) == (4, 1), answer
        assert "jobd add" in answer.err
    assert not (jobd.folder / "jobd.db").exists()


def test_a_file_that_is_no_database_is_4(jobd: Cli) -> None:
    for leftover in jobd.folder.glob("jobd.db*"):
        leftover.unlink()
    (jobd.folder / "jobd.db").write_bytes(b"this is no database at all, " * 100)
    for words in (*READ_COMMANDS, ["add", "report", "--every", "10s"]):
        answer = jobd(*words)
        assert (answer.code, answer.err.count("\n")) == (4, 1), answer
        assert "jobd.db" in answer.err


def test_reading_an_empty_file_exits_with_4(jobd: Cli) -> None:
    for leftover in jobd.folder.glob("jobd.db*"):
        leftover.unlink()
    (jobd.folder / "jobd.db").touch()
    assert jobd("list").code == 4
    assert jobd("add", "report", "--every", "10s").code == 0
    assert jobd("list").code == 0


def test_a_newer_schema_is_78(jobd: Cli) -> None:
    jobd.sql("UPDATE jobd_schema SET version = version + 1")
    for words in (["list"], ["show", "hello"], ["add", "report", "--every", "10s"]):
        answer = jobd(*words)
        assert (answer.code, answer.err.count("\n")) == (78, 1), answer


def test_a_locked_database_is_4_within_its_deadline(jobd: Cli) -> None:
    connection = sqlite3.connect(jobd.folder / "jobd.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        answer = jobd("add", "report", "--every", "10s")
        assert (answer.code, answer.err.count("\n")) == (4, 1), answer
        assert jobd("list").code == 0  # readers are not blocked by a writer
    finally:
        connection.close()
    assert [job["name"] for job in jobd.fine("list", "--json").json] == ["hello"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_database_is_4(jobd: Cli) -> None:
    (jobd.folder / "jobd.db").chmod(0o444)
    answer = jobd("add", "report", "--every", "10s")
    assert (answer.code, answer.err.count("\n")) == (4, 1), answer


@pytest.mark.parametrize("url", ["mysql://u:geheim@127.0.0.1:1/jobd", "postgresql://u:geheim@127.0.0.1:1/jobd"])
def test_a_server_that_is_not_reachable_is_4_and_its_password_is_not_shown(jobd: Cli, url: str) -> None:
    for words in (["list"], ["add", "report", "--every", "10s"]):
        answer = jobd(*words, JOBD_DATABASE=url)
        assert (answer.code, answer.err.count("\n")) == (4, 1), answer
        assert "127.0.0.1" in answer.err
        assert "geheim" not in answer.err + answer.out


def test_rows_edited_to_nonsense_are_shown_as_invalid_and_hurt_no_other(jobd: Cli) -> None:
    jobd.sql("""INSERT INTO job (name, "interval") VALUES ('often', 'now and then')""")
    jobd.sql("INSERT INTO job (name) VALUES ('never')")
    jobd.sql("""INSERT INTO job (name, "interval") VALUES (?, '10s')""", "bad\nname")
    jobs = {job["name"]: job for job in jobd.fine("list", "--json").json}
    assert {name: job["state"] for name, job in jobs.items()} == {
        "hello": "waiting",
        "often": "invalid",
        "never": "invalid",
        "bad\nname": "invalid",
    }
    assert "now and then" in jobs["often"]["error"]
    assert jobs["hello"].get("error") is None
    assert "bad\\nname" in jobd.fine("list").out
    assert "now and then" in jobd.fine("show", "often").out


def test_a_reader_that_leaves_is_141_and_a_full_disk_one_line(jobd: Cli) -> None:
    import subprocess
    import sys

    jobd_list = f"{sys.executable} -m jobd list"
    command = f"{jobd_list} | true; echo ${{PIPESTATUS[0]}}; {jobd_list} >/dev/full; echo $?"
    done = subprocess.run(["bash", "-c", command], cwd=jobd.folder, env=jobd.env, capture_output=True, text=True)
    assert done.stdout.split() in (["141", "1"], ["0", "1"])
    assert done.stderr.splitlines() == ["jobd: error: cannot write the output: No space left on device"]
