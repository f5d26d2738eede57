"""One daemon per state directory: a lock on `jobd.pid`, which the kernel frees when the daemon ends, however it ends.

The lock says whether there is a daemon, the number in the file which process it is (empty while it is starting). The
file is never removed: between a removal and the next creation two daemons could each lock a file of their own. When
that process began stands in `jobd.started`, since a process's number is used again.
"""

import errno
import fcntl
import os
import select
import signal
import time

from jobd.errors import JobdError, cannot

NAME = "jobd.pid"
STARTED = "jobd.started"  # the number, and when that process began
TRIES, PAUSE = 10, 0.02  # `holder` takes the lock for an instant; wait it out


class Lock:
    """The lock, held as long as this object's descriptor, or one inherited from it, is open."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.descriptor = descriptor
        self._path = path

    def write_pid(self) -> None:
        """Write down that this process is the daemon. Raises JobdError."""
        pid = os.getpid()
        try:
            _write_started(os.path.join(os.path.dirname(self._path), STARTED), f"{pid} {_started(pid)}\n")
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, f"{pid}\n".encode(), 0)
        except OSError as error:
            raise cannot(f"write {self._path}", error) from None

    def close(self) -> None:
        """Let go of it (a process forked meanwhile holds it on)."""
        os.close(self.descriptor)


def acquire(state_dir: str) -> Lock | None:
    """The lock of `state_dir`, or None when a daemon holds it. Raises JobdError when the file cannot be used."""
    path = os.path.join(state_dir, NAME)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise cannot(f"lock {path}", error) from None
    for _ in range(TRIES):
        if _lock(descriptor, fcntl.LOCK_EX):
            os.ftruncate(descriptor, 0)  # whoever stands there is dead
            return Lock(path, descriptor)
        time.sleep(PAUSE)  # noqa: TID251 - no loop turns yet
    os.close(descriptor)
    return None


def holder(state_dir: str) -> int | None:
    """The process id of the daemon of `state_dir`, or None when there is none.

    Raises JobdError when this user may not look.
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
    if not started:  # of the version before both stood in one file
        started = _read_started(os.path.join(state_dir, STARTED), pid)
    # A number that was written by a dead daemon may by now be another process's.
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
    """When the process `pid` began, as its daemon wrote it down; "" when it is another's."""
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
    """What to raise when this user may not reach the daemon of `state_dir`."""
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
    """Whether no daemon of `state_dir` runs, nor starts. Raises OSError when that cannot be known."""
    descriptor = os.open(os.path.join(state_dir, NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def is_stopped(pid: int) -> bool:
    """Whether the process stands still, as after SIGSTOP."""
    return _status_of(pid)[:1] == ["T"]


class Process:
    """The daemon of a state directory, held by a pidfd: no other process can be meant when its number is given away."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor

    def send(self, number: signal.Signals) -> None:
        """Send a signal. Raises JobdError when this user may not."""
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise JobdError(
                f"process {self.pid}, the daemon, belongs to another user", "run the command as root"
            ) from None

    def wait(self, timeout: float | None) -> bool:
        """Whether it has ended within `timeout` seconds."""
        return bool(select.select([self._descriptor], [], [], timeout)[0])

    def close(self) -> None:
        """Free the descriptor."""
        os.close(self._descriptor)


def find(state_dir: str) -> Process | None:
    """The daemon of `state_dir`, or None when there is none. Raises JobdError when this user may not look."""
    pid = holder(state_dir)
    if pid is None:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if holder(state_dir) == pid:  # it was the daemon both before and after: so it is the process that was opened
        return Process(pid, descriptor)
    os.close(descriptor)
    return None


def _started(pid: int) -> str:
    """When the process began, in ticks since the machine did: with the number it names a process for good."""
    return "".join(_status_of(pid)[19:20])


def _status_of(pid: int) -> list[str]:
    """What the kernel tells of a process, from its state on; nothing when there is none."""
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
