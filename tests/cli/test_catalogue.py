"""A catalogue of bad input in commands, in jobd.toml and in the tables, row by row.

The number of a row is that of the catalogue. What a design decision has taken away (ids, filters, `--db`) has no row.
"""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli.conftest import Cli

ADD = ("add", "report", "--every", "1h")
RAW = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")  # control bytes, but for the ends of lines
RUN = [sys.executable, "-m", "jobd"]


class Said(NamedTuple):
    """What a command answered, byte for byte."""

    code: int
    out: bytes
    err: bytes


def run_cli(jobd: Cli, words: tuple[str | bytes, ...], stdin: bytes = b"", env: Mapping[str, str | bytes] = {}) -> Said:
    """What `jobd WORDS` answers; no control byte, no traceback and no apology for a bug is ever in it."""
    given = {os.fsencode(key): os.fsencode(value) for key, value in {**jobd.env, **env}.items()}
    done = subprocess.run([*RUN, *words], cwd=jobd.folder, env=given, input=stdin, capture_output=True, timeout=60)
    answer = Said(done.returncode, done.stdout, done.stderr)
    assert not RAW.search(answer.out + answer.err), answer
    assert b"Traceback" not in answer.err, answer
    assert b"a bug in jobd" not in answer.err, answer
    return answer


def one_line(answer: Said) -> str:
    """The one line on stderr; below it there may be the picture of a place, two lines with a caret."""
    line, *picture = answer.err.decode().splitlines()
    assert line.startswith("jobd: error: "), answer
    assert not picture or (len(picture) == 2 and picture[1].strip() == "^"), answer
    return line


def content(jobd: Cli) -> list[str]:
    """All that is in the database, but for the notes to the daemon."""
    connection = sqlite3.connect(jobd.folder / "jobd.db")
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A folder with a job, a deleted one and some odd files, which no test of this module changes."""
    cli = Cli(tmp_path_factory.mktemp("untouched"))
    cli.fine("add", "hello", "--every", "1h")
    cli.fine("add", "gone", "--task", "hello", "--every", "1h")
    cli.fine("rm", "gone")
    files = {
        "empty.toml": b"",
        "bad.toml": b"\xff",
        "deep.toml": b"x = " + b"[" * 5_000,
        "big.toml": b"x = " + b"9" * 5_000,
        "forged.toml": b'["x\\njobd: error: forged"]\na = 1\n',
        "nul.toml": b'[job."a\\u0000b"]\ninterval = "1h"\n',
        "one-bad.toml": b'[job.report]\ninterval = "1h"\n[job.hello]\ninterval = "often"\n',
        "days": b"2026-02-30\n",
        "many": b"# \xc3\xbc".ljust(2**20, b"#") + b"\n2026-12-25\n",
        "large": b"x" * (2**20 + 1),
        "dirt": b"\x00\x1b[2J\n",
    }
    for name, data in files.items():
        (cli.folder / name).write_bytes(data)
    os.mkfifo(cli.folder / "pipe")
    return cli


REFUSED: list[tuple[str, tuple[str | bytes, ...], int, str]] = [
    ("C2", (b"a\xff",), 2, r"no such command 'a\\udcff'"),
    ("C2", ("x" * 100_000,), 2, r"x\.\.\.; see"),
    ("C2", ("list", b"--\xff"), 2, "no such option"),
    ("C3", ("add",), 2, "missing argument"),
    ("C4", ("show", ""), 2, "name is empty"),
    ("C5", ("show", "n" * 256), 2, "256 characters"),
    ("C7", ("rm", "a\tb"), 2, r"U\+0009 at position 2"),
    ("C7", ("rm", "a\x7fb"), 2, r"U\+007F"),
    ("C7", ("rm", "a\x9bb"), 2, r"U\+009B"),
    ("C7", ("rm", "a\u2028b"), 2, r"U\+2028"),
    ("C8", ("history", "a\u200bb"), 2, r"U\+200B"),
    ("C8", ("history", "a\ufeffb"), 2, r"U\+FEFF"),
    *[("C9", (verb, b"a\xff"), 2, r"U\+DCFF") for verb in ("set", "rm", "show", "next", "run", "cancel", "logs")],
    ("C9", (*ADD, "--task", b"\xff"), 2, "not UTF-8"),
    ("C9", (*ADD, "--tz", b"\xff"), 2, "no time zone"),
    ("C9", (*ADD, "--pool", b"\xff"), 2, "not UTF-8"),
    ("C9", (*ADD, "--arg", b"n=\xff"), 2, "cannot be stored"),
    ("C9", (*ADD, "--arg", b"\xff=1"), 2, "K=V"),
    ("C9", (*ADD, "--secret-arg", b"n=\xff"), 2, "cannot be stored"),
    ("C9", (*ADD, "--skip-dates", b"\xff"), 2, "neither a calendar"),
    ("C9", (*ADD, "--start", b"\xff"), 2, "not a time"),
    ("C9", ("add", "report", "--interval", b"\xff"), 2, "not understood"),
    ("C9", ("add", "report", "--cron", b"\xff * * * *"), 2, "not understood"),
    ("C9", ("add", "report", "--calendar", b"\xff"), 2, "not understood"),
    ("C9", (*ADD, "--", b"\xff"), 2, "not UTF-8"),
    ("C9", ("apply", b"\xff"), 1, r"cannot read \\udcff"),
    ("C9", ("--config", b"\xff", "list"), 78, "cannot read"),
    ("C13", ("add", "--every", "1h", "--", "-rf"), 2, "missing argument"),
    ("C13", ("add", "-", "--every", "1h"), 2, "begins with '-'"),
    ("C13", ("show", "--", "-rf"), 2, "begins with '-'"),
    ("C18", ("add", "hello", "--every", "2h"), 1, "exists already; `jobd set hello`"),
    ("C20", ("add", "x", "--task", "reprot", "--every", "1h"), 2, "did you mean report"),
    ("C22", ("add", "x", "--task", "os:system", "--every", "1h"), 2, "no module 'os'"),
    ("C22", ("add", "x", "--task", "../greet:hello", "--every", "1h"), 2, r"no module '\.\./greet'"),
    ("C22", ("add", "x", "--task", "/bin/sh", "--every", "1h"), 2, "'/bin/sh'"),
    ("C22", ("add", "x", "--task", "http://x/y", "--every", "1h"), 2, "no module 'http'"),
    ("C25", ("add", "report", "--every", "1h30"), 2, "did you mean 1h30m"),
    ("C25", ("add", "report", "--every", "5 minutes ago"), 2, "not understood"),
    *[("C26", ("add", "report", "--every", word), 2, "not understood") for word in ("inf", "-inf", "1e400", "NaN")],
    ("C27", ("add", "report", "--every", "0.5s"), 2, "whole number"),
    *[("C28", ("add", "report", "--every", w), 2, "not understood") for w in ("1e3s", "0x10", "1_000s", "３s")],
    *[("C29", ("add", "report", "--every", f"{n}s"), 2, "ten years") for n in (2**31, 2**63, 10**30)],
    *[("C30", (*ADD, "--retry", word), 2, "--retry|retry_times") for word in ("٣", "-0x1", "9" * 5_000, "")],
    ("C31", (*ADD, "--backoff", "3651d"), 2, "ten years"),
    ("C32", (*ADD, "--timeout", "-5s"), 2, "--timeout"),
    ("C32", (*ADD, "--timeout", "3651d"), 2, "ten years"),
    ("C33", ("add", "report", "--every", "1h", "--at", "2030-01-01"), 2, "contradict"),
    ("C34", ("add", "report"), 2, "the job 'report' has no schedule"),
    ("C35", ("add", "report", "--at", "2020-01-01T00:00"), 2, "in the past; --force"),
    *[("C36", ("add", "report", "--at", w), 2, "not understood") for w in ("25:00", "1735689600", "2030-13-01", "-1")],
    ("C39", ("add", "report", "--at", "2030-12-24T18:00:60"), 2, "second '60'"),
    *[("C40", ("add", "report", "--at", f"{y}-06-01T00:00"), 2, "year") for y in ("0000", "1969", "9999")],
    ("C40", ("add", "report", "--at", "10000-06-01T00:00"), 2, "not a time"),
    *[("C41", (*ADD, "--tz", z), 2, "no time zone") for z in ("EST5EDT-x", "/etc/localtime", "", "a" * 300)],
    ("C42", (*ADD, "--arg", "n=1", "--arg", "n=2"), 2, "'n' is given twice"),
    ("C43", (*ADD, "--arg", "n=" + "[" * 100_000), 2, "bytes"),
    ("C45", ("apply", "nosuch.toml"), 1, "cannot read nosuch"),
    ("C45", ("apply", "."), 1, "cannot read"),
    ("C45", ("apply", "/dev/zero"), 2, "larger than"),
    ("C45", ("apply", "bad.toml"), 2, "not UTF-8"),
    ("C45", (*ADD, "--skip-dates", "/dev/zero"), 2, r"larger than 1 MiB \(1,048,576 bytes\)"),
    ("C45", (*ADD, "--skip-dates", "many"), 2, r"larger than 1 MiB \(1,048,576 bytes\)"),
    ("C45", (*ADD, "--skip-dates", "dirt"), 2, r"\\x00"),
    ("C45", (*ADD, "--skip-dates", "."), 2, "neither a calendar"),
    ("C45", (*ADD, "--skip-dates", "days"), 2, "2026-02-30"),
    ("C46", ("apply", "-", "--prune", "--yes"), 2, "standard input is empty"),
    ("C46", ("apply", "empty.toml", "--prune", "--yes"), 2, "empty.toml is empty"),
    ("C46", (*ADD, "--secret-arg", "token"), 2, "token has no value"),
    ("C47", (*ADD, "--every", "2h"), 2, "--every is given twice"),
    ("C47", ("set", "hello", "--retry", "1", "--retry", "1"), 2, "--retry is given twice"),
    *[("C49", (verb, "helo"), 1, "did you mean 'hello'") for verb in ("show", "rm", "run", "pause", "cancel", "logs")],
    ("C50", ("rm", "gone"), 1, "is deleted; `jobd restore gone`"),
    ("C52", ("set", "hello"), 2, "nothing to change"),
    ("C57", ("next", "-n", "1000000000"), 2, "not in the range"),
    ("C57", ("history", "-n", "99999999999999999999"), 2, "not in the range"),
    ("C57", ("logs", "hello", "--run", "99999999999999999999"), 2, "not in the range"),
    ("C57", ("history", "-n", "9" * 5_000), 2, r"not a valid integer|\.\.\."),
    ("C64", ("stop",), 3, "not running"),
    ("C64", ("status",), 3, "not running"),
    ("C64", ("reload",), 3, "not running"),
    ("C6", ("apply", "nul.toml", "--yes"), 2, r"U\+0000"),
    ("C68", ("apply", "one-bad.toml", "--yes"), 2, r"one-bad\.toml:3: \[job\.hello\]"),
    ("C68", ("apply", "deep.toml"), 2, "nested too deeply"),
    ("C68", ("apply", "big.toml"), 2, "digits"),
    ("C68", ("apply", "forged.toml"), 2, r"\\n"),
    ("K1", ("--config", "no\nsuch", "list"), 78, r"no\\nsuch"),
    ("K1", ("--config", "\x1b[2J", "list"), 78, r"\\x1b\[2J"),
]


@pytest.mark.parametrize(
    ("row", "words", "code", "line"), REFUSED, ids=[f"{row}-{n}" for n, (row, *_) in enumerate(REFUSED)]
)
def test_each_row_is_one_clear_line_and_changes_nothing(
    untouched: Cli, row: str, words: tuple[str | bytes, ...], code: int, line: str
) -> None:
    before = content(untouched)
    answer = run_cli(untouched, words)
    assert (answer.code, answer.out) == (code, b""), answer
    assert re.search(line, one_line(answer)), answer
    assert content(untouched) == before


def test_no_command_at_all_gets_the_help(untouched: Cli) -> None:  # C1
    answer = run_cli(untouched, ())
    assert answer.code == 2
    assert b"Usage: jobd" in answer.err


ACCEPTED: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
    ("C11", ("j😀b",), {"name": "j😀b"}),
    ("C14", ("../../etc/passwd",), {"name": "../../etc/passwd"}),
    ("C15", ("x'; DROP TABLE job;--",), {"name": "x'; DROP TABLE job;--"}),
    ("C15", ("`id`${HOME}%s{0}",), {"name": "`id`${HOME}%s{0}"}),
    ("C16", ("123",), {"name": "123"}),
    ("C17", ("HELLO",), {"name": "HELLO"}),
    ("C17", ("h\u00e9llo",), {"name": "h\u00e9llo"}),
    ("C19", ("gone", "--retry", "2"), {"name": "gone", "retry_times": 2, "is_delete": 0}),
    ("C42", ("nan", "--arg", "n=NaN"), {"args": {"n": "NaN"}}),
    ("C44", ("told", "--arg", "password=x"), {"args": {"password": "x"}}),
    ("C61", ("esc", "--arg", "n=a\x1b[2J"), {"args": {"n": "a\x1b[2J"}}),
]


@pytest.mark.parametrize(("row", "words", "stored"), ACCEPTED, ids=[f"{row}-{w[0]}" for row, w, _ in ACCEPTED])
def test_an_odd_but_valid_value_is_stored_and_shown_unchanged(
    jobd: Cli, row: str, words: tuple[str, ...], stored: dict[str, Any]
) -> None:
    jobd.fine("add", "hello", "--every", "1h")
    jobd.fine("add", "gone", "--task", "hello", "--every", "1h")
    jobd.fine("rm", "gone")
    assert run_cli(jobd, ("add", *words, "--task", "hello", "--every", "1h")).code == 0
    shown = jobd.fine("show", words[0], "--json").json
    assert {key: shown[key] for key in stored} == stored
    for look in (("list",), ("show", words[0]), ("next",), ("export",)):
        assert run_cli(jobd, look).code == 0


def test_a_time_in_the_gap_of_summer_time_is_shown_as_the_time_after_it(jobd: Cli) -> None:  # C37, C38
    answer = run_cli(jobd, ("next", "--at", "2029-03-25T02:30"))
    assert answer.code == 0
    assert b"2029-03-25 03:00:00+02:00" in answer.out


def test_a_secret_may_come_through_a_pipe_and_is_not_asked_for_aloud(jobd: Cli) -> None:  # C46
    answer = run_cli(jobd, ("add", "hello", "--every", "1h", "--secret-arg", "token"), stdin=b"geheim\n")
    assert (answer.code, answer.err) == (0, b"")
    assert jobd.sql("SELECT args FROM job_options") == [('{"token": "geheim"}',)]


def test_a_file_from_windows_is_read(jobd: Cli) -> None:  # C68, K4
    text = '[job.hello]\r\ninterval = "1h"\r\n'.encode("utf-8-sig")
    assert run_cli(jobd, ("apply", "-", "--yes"), stdin=text).code == 0
    (jobd.folder / "jobd.toml").write_bytes('database = "sqlite:///jobd.db"\r\n'.encode("utf-8-sig"))
    assert [job["name"] for job in jobd.fine("list", "--json").json] == ["hello"]


# Streams


@pytest.mark.parametrize(
    "command",
    ["list", "list --json", "show hello", "next", "history", "tasks", "export", "add report --every 1h", "--help"],
)
def test_a_full_device_is_one_line(jobd: Cli, command: str) -> None:  # C59
    jobd.fine("add", "hello", "--every", "1h")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*RUN, *command.split()], cwd=jobd.folder, env=jobd.env, stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert (done.returncode, done.stderr) == (1, b"jobd: error: cannot write the output: No space left on device\n")


@pytest.mark.parametrize("where", ["/dev/full", "a reader that has gone"])
def test_the_exit_code_is_right_when_no_message_can_be_written(untouched: Cli, where: str) -> None:  # C58, C59
    if where == "/dev/full":
        descriptor = os.open(where, os.O_WRONLY)
    else:
        reader, descriptor = os.pipe()
        os.close(reader)
    for words, code in ((["nosuch"], 2), (["stop"], 3), (["--config", "nosuch", "list"], 78), (["show", "nosuch"], 1)):
        done = subprocess.run([*RUN, *words], cwd=untouched.folder, env=untouched.env, stderr=descriptor, timeout=60)
        assert done.returncode == code
    os.close(descriptor)


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["export"], ["show", "hello"]])
def test_a_closed_pipe_ends_the_command_quietly(untouched: Cli, words: list[str]) -> None:  # C58
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*RUN, *words], cwd=untouched.folder, env=untouched.env, stdout=writer, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(jobd: Cli, closed: str) -> None:
    jobd.fine("add", "hello", "--every", "1h")
    commands = ["list", "list --json", "show hello", "next", "history", "tasks", "export", "add report --every 1h"]
    script = "\n".join(f"'{sys.executable}' -m jobd {command} {closed}; echo $? >&9" for command in commands)
    reader, writer = os.pipe()
    with open(writer, "wb") as stream:
        done = subprocess.run(
            ["bash", "-c", f"exec 9>&{writer}\n{script}"],
            cwd=jobd.folder,
            env=jobd.env,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=(stream.fileno(),),
            timeout=60,
        )
    with open(reader) as codes:
        assert codes.read().split() == ["01"[closed == ">&-" or len(closed) > 4]] * len(commands)
    refusal = b"jobd: error: cannot write the output: Bad file descriptor\n"
    assert done.stderr == refusal * len(commands) * (closed == ">&-")
    assert jobd.sql("PRAGMA integrity_check") == [("ok",)]
    assert [job["name"] for job in jobd.fine("list", "--json").json] == ["hello", "report"]


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
)
def test_a_terminal_that_cannot_show_a_name_gets_it_escaped(jobd: Cli, env: dict[str, str]) -> None:  # C60
    jobd.fine("add", "j😀b", "--task", "hello", "--every", "1h")
    for words in (("list",), ("list", "--json"), ("next",), ("export",), ("list", "j*"), ("list", "😀")):
        answer = run_cli(jobd, words, env=env)
        assert (answer.code, answer.err) == (0, b""), answer
    assert re.search(r"^j(😀|\\U0001f600)b ".encode(), run_cli(jobd, ("list",), env=env).out, re.MULTILINE)
    answer = run_cli(jobd, ("show", "j😀b"), env=env)
    assert answer.code in (0, 2), "in a locale of ASCII the word is no text"


@pytest.fixture
def interrupted(jobd: Cli) -> Iterator[subprocess.Popen[bytes]]:
    """A `jobd add` that waits for another program's lock on the database, when Ctrl-C is pressed."""
    jobd.fine("add", "hello", "--every", "1h")
    lock = sqlite3.connect(jobd.folder / "jobd.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    child = subprocess.Popen(
        [*RUN, *ADD], cwd=jobd.folder, env=jobd.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 20
    while not any(link.endswith("jobd.db") for link in _open_files(child.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    try:
        yield child
    finally:
        lock.close()
        child.kill()
        child.wait()


def _open_files(pid: int) -> list[str]:
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            pass
    return found


def test_ctrl_c_during_add_reports_whether_the_job_was_added(
    jobd: Cli, interrupted: subprocess.Popen[bytes]
) -> None:  # C67
    _, err = interrupted.communicate(timeout=30)
    assert interrupted.returncode in (75, 130)
    assert err.count(b"\n") <= 1
    assert b"Traceback" not in err
    if interrupted.returncode == 130:
        assert [job["name"] for job in jobd.fine("list", "--json").json] == ["hello"]


# C65, C66


AS_NOBODY = """
import os, sys
from jobd.__main__ import run
from jobd.cli import finish
finish(lambda: run(["list"]))  # loads all that it takes: that user may not be able to
os.setgid(65534), os.setuid(65534)
sys.exit(finish(lambda: run(["list"])))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_refused_and_leaves_nothing_behind() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        jobd = Cli(Path(folder))
        jobd.fine("add", "hello", "--every", "1h")
        files = sorted(os.listdir(folder))
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY], cwd=folder, env=jobd.env, capture_output=True, timeout=60
        )
        assert done.returncode == 4, done
        assert "cannot be opened" in one_line(Said(done.returncode, done.stdout, done.stderr))
        assert sorted(os.listdir(folder)) == files


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can do this")
def test_root_leaves_no_files_of_its_own_beside_another_users_database(jobd: Cli) -> None:
    jobd.fine("add", "hello", "--every", "1h")
    for path in (jobd.folder, *jobd.folder.glob("jobd.db*")):
        os.chown(path, 65534, 65534)
    watcher = sqlite3.connect(jobd.folder / "jobd.db")  # keeps the files beside it
    watcher.execute("SELECT count(*) FROM job").fetchone()
    jobd.fine("add", "report", "--every", "1h")
    assert {path.stat().st_uid for path in jobd.folder.glob("jobd.db*")} == {65534}
    watcher.close()


# Configuration and environment

CONFIGURED: list[tuple[str, bytes, str]] = [
    ("K4", b"\xff\xfe", "not UTF-8 text: byte 0"),
    ("K4", b"workers = 2\x00\n", "line 1, column"),
    ("K5", b"workers = 2\n[log\n", "line 2, column"),
    ("K5", b"x = " + b"[" * 5_000, "nested too deeply"),
    ("K5", b"workers = " + b"9" * 5_000, "digits"),
    ("K5", b"a." * 3_000 + b"a = 1", "there is no such key"),
    ("K6", b"[defaults]\nretry_tmes = 3\n", r":2: defaults\.retry_tmes: .*did you mean defaults\.retry_times"),
    ("K6", b'"a\\nb" = 1\n', r"'a\\nb'"),
    ("K7", b"workers = 4.5\n", "from 1 to"),
    ("K7", b"workers = [[\x27\x1b\x27]]\n", "line 1"),
    ("K8", b"workers = 100000\n", "from 1 to"),
    ("K9", b'lease = "5s"\npoll = "2s"\n', "a quarter of `lease`"),
    *[
        ("K11", b'database = "%s"\n' % url, word)
        for url, word in (
            (b"oracle://h/d", "begins with 'oracle'"),
            (b"jobd.db", "begins with ''"),
            (b"mysql://u:geheim@h", "names no database"),
            (b"mysql://u:geheim@h:99999/d", "no good host or port"),
            (b"mysql://u:geheim@h:x/d", "no good host or port"),
            (b"mysql://u:geheim@[::1/d", "no good host or port"),
            (b"mysql://u:geheim@h/d?foo=1", "unknown option 'foo'"),
        )
    ],
    *[
        ("K12", b'database = "%s"\n' % url, word)
        for url, word in (
            (b"sqlite:///", "names no file"),
            (b"sqlite:///:memory:", "names no file"),
            (b"sqlite://host/x.db", "names no file"),
            (b"sqlite:///a%00b", "names no file"),
            (b"sqlite:///x.db?mode=ro", "has options"),
            (b"sqlite:///x#1.db", "has options"),
        )
    ],
    ("K20", b'[log]\nlevel = "loud"\n', "trace, debug"),
    ("K20", b'[log]\nrotation = "1 banana"\n', "10MiB"),
    ("K22", b'timezone = "Mars/Base"\n', "no such time zone"),
]


@pytest.mark.parametrize(
    ("row", "data", "line"), CONFIGURED, ids=[f"{row}-{n}" for n, (row, *_) in enumerate(CONFIGURED)]
)
def test_each_wrong_configuration_is_one_line_that_names_the_place(jobd: Cli, row: str, data: bytes, line: str) -> None:
    (jobd.folder / "jobd.toml").write_bytes(data)
    answer = run_cli(jobd, ("list",))
    assert (answer.code, answer.out) == (78, b""), answer
    assert re.search(line, one_line(answer)), answer
    assert b"geheim" not in answer.err
    assert not (jobd.folder / "jobd.db").exists()


def test_a_configuration_is_a_regular_file_of_bounded_size(jobd: Cli) -> None:  # K2
    (jobd.folder / "jobd.toml").unlink()
    os.mkfifo(jobd.folder / "pipe")
    (jobd.folder / "large").write_bytes(b"#" * (2**20 - 1) + "ü".encode())  # in characters, it would have 1 Mi
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(jobd.folder / "sock"))
    for name, word in ((".", "directory"), ("pipe", "regular"), ("sock", "device"), ("large", "1 MiB")):
        answer = run_cli(jobd, ("--config", name, "list"))
        assert answer.code == 78, answer
        assert word in one_line(answer)
    listener.close()


def test_a_long_line_is_refused_without_delay(jobd: Cli) -> None:
    """Regression: looking for the line of a key took the cube of a line's length."""
    (jobd.folder / "jobd.toml").write_bytes(b"timezone = 'UTC'\nx = [\n" + b" " * 100_000 + b"]\n")
    before = os.times().children_user
    assert run_cli(jobd, ("list",)).code == 78
    assert os.times().children_user - before < 5


VARIABLES: list[tuple[str, str, str | bytes, int, str]] = [
    ("K17", "JOBD_WORKERS", b"\xff", 78, r"\$JOBD_WORKERS"),
    ("K17", "JOBD_WORKER", "3", 78, r"did you mean \$JOBD_WORKERS"),
    ("K17", "JOBD_LOG__FROMAT", "json", 78, r"\$JOBD_LOG__FROMAT"),
    ("K17", "JOBD_TIMEZONE", b"\xff", 78, r"\$JOBD_TIMEZONE"),
    ("K17", "JOBD_DATABASE", "", 78, r"\$JOBD_DATABASE"),
    ("K17", "JOBD_CONFIG", b"\xff", 78, "cannot read"),
    ("K17", "JOBD_DATABASE", b"sqlite:///\xff.db", 4, "no database at"),
    ("K2", "JOBD_PASSWORD_FILE", "/dev/zero", 78, "not a regular file"),
    ("K2", "JOBD_PASSWORD_FILE", "large", 78, r"larger than 1 MiB \(1,048,576 bytes\)"),
    ("K11", "JOBD_DATABASE", f"mysql://u:geheim@{'a' * 70}.b/d", 4, "63 characters"),
    ("K11", "JOBD_DATABASE", f"postgresql://u:geheim@{'a' * 70}.b/d", 4, "63 characters"),
    ("K12", "JOBD_DATABASE", "sqlite:////dev/null", 4, "not a file"),
    ("K12", "JOBD_DATABASE", "sqlite:///" + "x" * 5_000, 4, "no database at"),
]


@pytest.mark.parametrize(("row", "name", "value", "code", "line"), VARIABLES, ids=[f"{v[0]}-{v[1]}" for v in VARIABLES])
def test_each_wrong_variable_is_one_line(
    untouched: Cli, row: str, name: str, value: str | bytes, code: int, line: str
) -> None:
    answer = run_cli(untouched, ("list",), env={name: value})
    assert (answer.code, answer.out) == (code, b""), answer
    assert re.search(line, one_line(answer)), answer
    assert b"geheim" not in answer.err


def test_foreign_environment_variables_are_no_error(untouched: Cli) -> None:  # K17, K18
    service = {"JOBD_PORT": "tcp://10.0.0.1:80", "JOBD_SERVICE_HOST": "10.0.0.1"}
    assert run_cli(untouched, ("list",), env=service).code == 0
    assert run_cli(untouched, ("list",), env={"TZ": b"\xff", "COLUMNS": "9" * 30}).code == 0


def test_a_plugins_folder_that_cannot_be_read_is_one_line(untouched: Cli) -> None:  # K21
    loop = untouched.folder / "loop"
    loop.symlink_to(loop)
    for folder in ("nosuch", "jobd.toml", "loop", "pipe"):
        answer = run_cli(untouched, ("tasks",), env={"JOBD_PLUGINS": folder})
        assert answer.code == 1, answer
        assert "plugins folder" in one_line(answer)
        answer = run_cli(untouched, ADD, env={"JOBD_PLUGINS": folder})
        assert answer.code == 2, answer
        assert "plugins folder" in one_line(answer)


def test_a_deleted_working_folder_is_reported_as_such(jobd: Cli) -> None:
    gone = jobd.folder / "gone"
    gone.mkdir()
    script = f"cd '{gone}' && rmdir '{gone}' && exec '{sys.executable}' -P -m jobd list"
    done = subprocess.run(["bash", "-c", script], env=jobd.env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
    assert "current folder" in done.stderr


# What is found in the table (more of it in tests/store/test_hostile_rows.py)

FOUND: list[tuple[str, str, str]] = [
    ("T3", "UPDATE schedule SET due_time = 'tomorrow' WHERE job_id = 2", "due_time is 'tomorrow'"),
    ("T3", "UPDATE schedule SET due_time = 9e18 WHERE job_id = 2", "due_time is 9"),
    ("T3", "UPDATE schedule SET ready_time = x'ff' WHERE job_id = 2", "ready_time is b'"),
    ("T4", "UPDATE schedule SET due_time = NULL WHERE job_id = 2", "due_time is missing"),
    ("T5", "UPDATE schedule SET ready_time = 9223372036854775807 WHERE job_id = 2", "ready_time is 9"),
    ("T6", "UPDATE schedule SET attempt = -1 WHERE job_id = 2", "negative"),
    ("T6", "UPDATE schedule SET attempt = 'x' WHERE job_id = 2", "attempt is 'x'"),
    ("T8", "UPDATE schedule SET node_id = 'x' WHERE job_id = 2", "node_id is 'x'"),
    ("T8", "UPDATE schedule SET token = 1.5 WHERE job_id = 2", "token is 1.5"),
    ("T12", "INSERT INTO job_options (job_id, task) VALUES (2, x'ff00')", "task is b"),
    ("T12", "INSERT INTO job_options (job_id, pool) VALUES (2, x'00')", "pool is b"),
    ("T13", "INSERT INTO job_options (job_id, args) VALUES (2, x'7b7d')", "args is b"),
    ("T13", "INSERT INTO job_options (job_id, timeout) VALUES (2, 'soon')", "timeout is 'soon'"),
    ("T13", "INSERT INTO job_options (job_id, jitter) VALUES (2, 1.5)", "jitter is 1.5"),
    ("T13", "INSERT INTO job_options (job_id, priority) VALUES (2, 'high')", "priority is 'high'"),
]


def loosen(jobd: Cli) -> None:
    """Have the tables take nonsense after all."""
    with contextlib.closing(sqlite3.connect(jobd.folder / "jobd.db")) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(replace(sql, ', STRICT', ''), ' STRICT', '')")
        connection.commit()


@pytest.mark.parametrize(("row", "statement", "why"), FOUND, ids=[f"{row}-{n}" for n, (row, *_) in enumerate(FOUND)])
def test_an_invalid_value_is_shown_with_its_reason_and_hides_no_other_job(
    jobd: Cli, row: str, statement: str, why: str
) -> None:
    jobd.fine("add", "hello", "--every", "1h")
    jobd.fine("add", "report", "--every", "1h")
    loosen(jobd)
    jobd.sql(statement)
    jobs = {job["name"]: job for job in jobd.fine("list", "--json").json}
    assert why in jobs["report"]["error"]
    assert (jobs["report"]["state"], jobs["hello"]["state"]) == ("invalid", "waiting")
    for words in (("list",), ("show", "report"), ("next",), ("export",), ("history",)):
        assert run_cli(jobd, words).code == 0


@pytest.mark.parametrize("time", ["0001-01-01 00:00:00", "9999-12-31 23:59:59", "0001-01-01T00:00:00+14:00"])
@pytest.mark.parametrize("column", ["created_time", "updated_time", "lastFinished_time"])
def test_a_time_that_cannot_be_shown_is_left_out(jobd: Cli, column: str, time: str) -> None:  # T10
    jobd.fine("add", "report", "--every", "1h")
    jobd.sql(f'UPDATE job SET "{column}" = ?', time)
    (job,) = jobd.fine("list", "--json").json
    assert (job["state"], job[column], job.get("error")) == ("waiting", None, None)
    for words in (("list",), ("show", "report"), ("next",), ("export",), ("history",)):
        assert run_cli(jobd, words).code == 0


def test_an_invalid_run_is_shown_with_its_reason(jobd: Cli) -> None:
    jobd.fine("add", "report", "--every", "1h")
    loosen(jobd)
    run = "INSERT INTO run VALUES (?, ?, 1, 1, ?, 1, 'succeeded', 1, NULL, NULL, 0)"
    for number, finished in enumerate((1_800_000_000_000_000, 4 * 10**18, -5, "abc"), 1):
        jobd.sql(run, 1, number, finished)
    for words in (("history", "report", "--json"), ("show", "report", "--json")):
        runs = json.loads(run_cli(jobd, words).out)
        runs = runs["runs"] if isinstance(runs, dict) else runs
        assert [one["outcome"] for one in runs] == ["unsound"] * 3 + ["succeeded"]
        assert "finished_time is 'abc'" in runs[0]["error"]
    for look in (("list",), ("show", "report"), ("history",), ("history", "report"), ("history", "--json")):
        assert run_cli(jobd, look).code == 0


def test_a_damaged_version_is_one_line(jobd: Cli) -> None:
    jobd.fine("add", "report", "--every", "1h")
    for statement in ("UPDATE jobd_schema SET version = 'abc'", "DELETE FROM jobd_schema"):
        jobd.sql(statement)
        for words in (("list",), ADD, ("start", "-f")):
            answer = run_cli(jobd, words)
            assert answer.code == 78, answer
            assert "jobd_schema" in one_line(answer)


def test_a_foreign_table_is_refused_and_one_with_more_columns_is_accepted(jobd: Cli) -> None:  # T16
    jobd.fine("add", "hello", "--every", "1h")
    jobd.sql("ALTER TABLE job ADD COLUMN owner TEXT")
    assert [job["name"] for job in jobd.fine("list", "--json").json] == ["hello"]
    jobd.fine("set", "hello", "--retry", "1")
    jobd.sql('ALTER TABLE job RENAME COLUMN "interval" TO every')
    for words in (("list",), ("add", "report", "--every", "1h")):
        answer = run_cli(jobd, words)
        assert answer.code == 78, answer
        assert "interval" in one_line(answer)
