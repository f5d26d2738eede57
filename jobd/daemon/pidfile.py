"""One daemon per state directory: a lock on `jobd.pid`, which the kernel releases when the daemon ends for any reason.

The lock shows whether a daemon runs. The file contains its process id, or nothing while the daemon starts. The file is
never removed: between a removal and the next creation two daemons could each lock a file of their own. `jobd.started`
contains the start time of that process, because process ids are used again.
"""

import errno
import fcntl
import os
import select
import signal
import time

from jobd.errors import JobdError, cannot

NAME = "jobd.pid"
STARTED = "jobd.started"  # the process id and the start time of that process
TRIES, PAUSE = 10, 0.02  # (PAUSE in seconds) `holder` takes the lock briefly, so it is worth trying again


class Lock:
    """The lock. It is held while this object's descriptor, or an inherited copy of it, is open."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.descriptor = descriptor
        self._path = path

    def write_pid(self) -> None:
        """Record that this process is the daemon. Raises JobdError."""
        pid = os.getpid()
        try:
            _write_started(os.path.join(os.path.dirname(self._path), STARTED), f"{pid} {_started(pid)}\n")
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, f"{pid}\n".encode(), 0)
        except OSError as error:
            raise cannot(f"write {self._path}", error) from None

    def close(self) -> None:
        """Close the descriptor. A process that was forked meanwhile still holds the lock."""
        os.close(self.descriptor)


def acquire(state_dir: str) -> Lock | None:
    """The lock of `state_dir`, or None if a daemon holds it. Raises JobdError if the file cannot be used."""
    path = os.path.join(state_dir, NAME)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise cannot(f"lock {path}", error) from None
    for _ in range(TRIES):
        if _lock(descriptor, fcntl.LOCK_EX):
            os.ftruncate(descriptor, 0)  # the process id in it belongs to a dead daemon
            return Lock(path, descriptor)
        time.sleep(PAUSE)  # noqa: TID251 - the loop does not run yet
    os.close(descriptor)
    return None


def holder(state_dir: str) -> int | None:
    """The process id of the daemon of `state_dir`, or None if there is none.

    Raises JobdError if this user may not read the file.
    """
    try:
        descriptor = os.open(os.path.join(state_dir, NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise not_its_owner(state_dir) from None
    try:
        if _lock(descriptor, fcntl.LOCK_SH):
            return None
        pid, _, started = _numbers(os.pread(descriptor, 64, 0))
    finally:
        os.close(descriptor)
    if not started:  # (an earlier version wrote both to jobd.pid)
        started = _read_started(os.path.join(state_dir, STARTED), pid)
    # The process id of a dead daemon may now belong to another process.
    return int(pid) if pid.isdecimal() and started and _started(int(pid)) == started else None


def _numbers(content: bytes) -> tuple[str, str, str]:
    return content.decode("ascii", "replace").strip().partition(" ")


def _write_started(path: str, text: str) -> None:
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600
    )
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _read_started(path: str, pid: str) -> str:
    """The recorded start time of the process `pid`; "" if the record is of another process."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        whose, _, started = _numbers(os.read(descriptor, 64))
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return started if whose == pid else ""


def not_its_owner(state_dir: str) -> JobdError:
    """The error for a user who may not reach the daemon of `state_dir`."""
    import pwd

    try:
        owner = pwd.getpwuid(os.stat(state_dir).st_uid).pw_name
    except (OSError, KeyError):
        owner = "USER"
    return JobdError(
        f"the daemon's state directory {state_dir} is closed to this user",
        f"run the command as its owner: sudo -u {owner} jobd ...",
    )


def is_free(state_dir: str) -> bool:
    """Whether no daemon of `state_dir` runs or is starting. Raises OSError if that cannot be determined."""
    descriptor = os.open(os.path.join(state_dir, NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def is_stopped(pid: int) -> bool:
    """Whether the process is stopped, as after SIGSTOP."""
    return _status_of(pid)[:1] == ["T"]


class Process:
    """The daemon of a state directory, held by a pidfd, so that no signal reaches a later process with the same id."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor

    def send(self, number: signal.Signals) -> None:
        """Send a signal. Raises JobdError if this user may not."""
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise JobdError(
                f"process {self.pid}, the daemon, belongs to another user", "run the command as root"
            ) from None

    def wait(self, timeout: float | None) -> bool:
        """Wait for the end of the process. Return whether it ended within `timeout` seconds (None: no limit)."""
        return bool(select.select([self._descriptor], [], [], timeout)[0])

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


def find(state_dir: str) -> Process | None:
    """The daemon of `state_dir`, or None if there is none. Raises JobdError if this user may not read its pid file."""
    pid = holder(state_dir)
    if pid is None:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if holder(state_dir) == pid:  # it was the daemon before and after, so the descriptor refers to it
        return Process(pid, descriptor)
    os.close(descriptor)
    return None


def _started(pid: int) -> str:
    """The start time of a process, in clock ticks since boot. Together with the id it identifies the process."""
    return "".join(_status_of(pid)[19:20])


def _status_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return []


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
