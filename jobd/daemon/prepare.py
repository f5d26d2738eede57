"""Preparations before a daemon runs: its folders, its permanent id, its process attributes."""

import fcntl
import gc
import os
import stat
import sys
import time
import uuid

from jobd import linux
from jobd.daemon.pidfile import NAME
from jobd.errors import ConfigError, JobdError, cannot
from jobd.plugins.task_list import check_writers
from jobd.settings import INSTANCE_FILE, Settings

LEFT_OVER_TIMEOUT = 15.0  # seconds to wait for the previous daemon's workers


def check_plugins(settings: Settings) -> None:
    """Raise ConfigError unless the plugins folder exists and, if jobd runs as root, is not world-writable."""
    try:
        mode = os.stat(settings.plugins).st_mode
    except OSError as error:
        raise ConfigError(f"cannot use the plugins folder {settings.plugins}: {error.strerror}", "create it") from None
    if not stat.S_ISDIR(mode):
        raise ConfigError(f"the plugins folder {settings.plugins} is not a folder")
    check_writers(settings.plugins)


def make_state_dir(state_dir: str) -> None:
    """Create the state directory, closed to other users. Raises JobdError."""
    if os.path.exists(state_dir) and not os.path.isdir(state_dir):
        raise ConfigError(f"the state directory {state_dir} is a file", "give jobd a folder of its own")
    try:
        os.makedirs(state_dir, mode=0o700, exist_ok=True)
        descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise cannot(f"use the state directory {state_dir}", error) from None
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise ConfigError(f"the state directory {state_dir} belongs to another user", "run jobd as that user")
        if status.st_mode & 0o077:
            held = os.listdir(descriptor)
            if held and NAME not in held:  # for example /etc, given by mistake or through a link
                raise ConfigError(
                    f"the state directory {state_dir} contains other files and is readable by other users",
                    "give jobd a folder of its own",
                )
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def instance_of(state_dir: str) -> str:
    """The permanent id of the daemons that run in `state_dir`, created if there is none. Raises JobdError."""
    path = os.path.join(state_dir, INSTANCE_FILE)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="ascii") as file:
            return str(uuid.UUID(file.read(64).strip()))
    except (OSError, ValueError):
        name = str(uuid.uuid4())
    fresh = path + ".new"
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(name + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, path)
    except OSError as error:
        raise cannot(f"write {path}", error) from None
    return name


def wait_for_workers(state_dir: str) -> int:
    """Wait until the previous daemon's workers have exited. Return the lock that this daemon's guardians inherit.

    Workers exit within milliseconds of their daemon, but a run must not start again before they have exited. Raises
    JobdError if some have not exited after LEFT_OVER_TIMEOUT.
    """
    path = os.path.join(state_dir, "workers.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise cannot(f"lock {path}", error) from None
    deadline = time.monotonic() + LEFT_OVER_TIMEOUT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise JobdError(
                    f"workers of the previous daemon have not exited after {LEFT_OVER_TIMEOUT:g} s",
                    "look for them with `ps -ef | grep jobd.runner`; a process that waits for a dead disk cannot exit",
                ) from None
            time.sleep(0.005)  # noqa: TID251 - the loop does not run yet


def tune_process() -> None:
    """Hide memory and environment, which may contain a password, from this user's other processes, including tasks.

    Also: become a child subreaper, so that no orphaned process escapes; set a timer slack of 1 ns, so that waits end
    on the microsecond; shorten the switch interval of the GIL to 0.5 ms.
    """
    linux.be_undumpable()
    linux.adopt_orphans()
    linux.prctl(linux.PR_SET_TIMERSLACK, 1)  # ns
    sys.setswitchinterval(0.0005)


def freeze_garbage_collector() -> None:
    """Exclude the present objects from garbage collection, and collect rarely.

    The present objects live as long as the daemon, and runs create no cycles. Collections took some hundredths of the
    processor time of a run.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
