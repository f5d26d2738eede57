"""Standard input in non-blocking mode, as some programs leave it behind: what comes late is waited for."""

import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.conftest import Cli
from tests.installation import until

JOB = '[job.a]\ntask = "hello"\ninterval = "1h"\n'


@contextmanager
def typing(jobd: Cli, reader: int, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command whose standard input is `reader`, in non-blocking mode; it has found no input yet."""
    os.set_blocking(reader, False)
    process = subprocess.Popen(
        [sys.executable, "-m", "jobd", *words],
        cwd=jobd.folder,
        env=jobd.env,
        stdin=reader,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        until(lambda: process.poll() is not None or waits(process.pid), "the command to wait for input")
        yield process
    finally:
        process.kill()
        process.communicate()


def waits(pid: int) -> bool:
    """Whether the process has slept for a while, which at worst means that its input comes early."""
    for _ in range(20):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            return False
        time.sleep(0.01)
    return True


def test_a_file_that_comes_in_parts_is_applied_whole(jobd: Cli) -> None:
    reader, writer = os.pipe()
    with typing(jobd, reader, "apply", "-", "--yes", "--json") as process:
        for name in ("a", "b"):
            os.write(writer, JOB.replace("a", name, 1).encode())
            until(lambda: process.poll() is not None or waits(process.pid), "the command to wait for more")
        os.close(writer)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert [job["name"] for job in jobd.fine("list", "--json").json] == ["a", "b"], out


def test_a_secret_that_comes_late_is_taken(jobd: Cli) -> None:
    reader, writer = os.pipe()
    with typing(jobd, reader, "add", "hello", "--every", "1h", "--secret-arg", "token") as process:
        os.write(writer, b"s3cret\n")
        _, err = process.communicate(timeout=60)
    os.close(writer)
    assert (process.returncode, err) == (0, b"")
    assert jobd.sql("SELECT args FROM job_options") == [('{"token": "s3cret"}',)]


def test_secrets_that_come_together_are_all_taken(jobd: Cli) -> None:
    reader, writer = os.pipe()
    words = ("add", "hello", "--every", "1h", "--secret-arg", "token", "--secret-arg", "key")
    with typing(jobd, reader, *words) as process:
        os.write(writer, b"one\ntwo\n")
        _, err = process.communicate(timeout=60)
    os.close(writer)
    assert (process.returncode, err) == (0, b"")
    assert jobd.sql("SELECT args FROM job_options") == [('{"token": "one", "key": "two"}',)]


def test_an_answer_that_is_typed_late_is_taken(jobd: Cli) -> None:
    jobd.fine("add", "hello", "--every", "1h")
    jobd.fine("add", "report", "--after-job", "hello")
    leader, follower = pty.openpty()
    with typing(jobd, follower, "rm", "hello") as process:
        os.write(leader, b"y\n")
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"deleted hello\n")
