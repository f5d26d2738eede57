"""One daemon per state directory, after every end of an earlier one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobd.daemon.pidfile import acquire, find, holder
from jobd.errors import ConfigError

HOLD = """
import sys
from jobd.daemon.pidfile import acquire
lock = acquire(sys.argv[1])
lock.write_pid()
print("held", flush=True)
sys.stdin.read()
"""


def hold(folder: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_daemon_gets_no_lock_and_learns_who_has_it(tmp_path: Path) -> None:
    with hold(tmp_path) as process:
        assert acquire(str(tmp_path)) is None
        assert holder(str(tmp_path)) == process.pid
        process.kill()


def test_a_stale_pid_file_never_blocks_a_start(tmp_path: Path) -> None:
    with hold(tmp_path) as process:
        process.kill()
        process.wait()
    assert (tmp_path / "jobd.pid").read_text() == f"{process.pid}\n"
    assert holder(str(tmp_path)) is None
    lock = acquire(str(tmp_path))
    assert lock is not None
    assert holder(str(tmp_path)) is None, "it has not signed yet"
    lock.write_pid()
    assert holder(str(tmp_path)) == os.getpid()
    lock.close()


def test_the_file_holds_one_number_so_that_it_can_be_given_to_kill(tmp_path: Path) -> None:
    with hold(tmp_path) as process:
        subprocess.run(["/bin/sh", "-c", f"kill -KILL $(cat {tmp_path}/jobd.pid)"], check=True)
        assert process.wait() == -signal.SIGKILL


def test_a_file_of_two_numbers_is_understood(tmp_path: Path) -> None:
    """A daemon of the version before is running while its package is replaced."""
    with hold(tmp_path) as process:
        (tmp_path / "jobd.pid").write_text((tmp_path / "jobd.started").read_text())
        (tmp_path / "jobd.started").unlink()
        assert holder(str(tmp_path)) == process.pid
        process.kill()


@pytest.mark.parametrize("text", ["", "1 5\n", "nonsense", None])
def test_a_pid_whose_process_cannot_be_identified_is_not_taken_for_the_daemon(tmp_path: Path, text: str | None) -> None:
    with hold(tmp_path) as process:
        (tmp_path / "jobd.started").unlink()
        if text is not None:
            (tmp_path / "jobd.started").write_text(text)
        assert holder(str(tmp_path)) is None
        process.kill()


def test_a_number_that_is_another_process_now_is_not_taken_for_the_daemon(tmp_path: Path) -> None:
    lock = acquire(str(tmp_path))
    assert lock is not None
    os.pwrite(lock.descriptor, b"1 12345678901\n", 0)
    assert find(str(tmp_path)) is None
    lock.close()


def test_the_holder_can_be_signalled_and_waited_for(tmp_path: Path) -> None:
    with hold(tmp_path):
        found = find(str(tmp_path))
        assert found is not None
        assert not found.wait(0)
        found.send(signal.SIGTERM)
        assert found.wait(10)
        found.send(signal.SIGTERM)  # to nobody, which is fine
        found.close()
    assert find(str(tmp_path)) is None


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep")
    (tmp_path / "jobd.pid").symlink_to(tmp_path / "precious")
    with pytest.raises(ConfigError, match="cannot lock"):
        acquire(str(tmp_path))
    assert (tmp_path / "precious").read_text() == "keep"


def test_without_a_state_directory_there_is_no_daemon(tmp_path: Path) -> None:
    assert holder(str(tmp_path / "none")) is None
