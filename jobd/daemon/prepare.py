"""What must be in place before a daemon runs: its folders, its name, its process attributes."""

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
from jobd.settings import Settings

LEFT_OVER_TIMEOUT = 15.0  # seconds


def check_plugins(settings: Settings) -> None:
    """Raise ConfigError unless the plugins folder is there and, for root, nobody else's to write."""
    try:
        mode = os.stat(settings.plugins).st_mode
    except OSError as error:
        raise ConfigError(f"cannot use the plugins folder {settings.plugins}: {error.strerror}", "create it") from None
    if not stat.S_ISDIR(mode):
        raise ConfigError(f"the plugins folder {settings.plugins} is not a folder")
    check_writers(settings.plugins)


def make_state_dir(state_dir: str) -> None:
    """Create the state directory, for this user alone. Raises JobdError."""
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
            if held and NAME not in held:  # /etc, named by mistake or through a link
                raise ConfigError(
                    f"the state directory {state_dir} contains other files and is readable by other users",
                    "give jobd a folder of its own",
                )
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def instance_of(state_dir: str) -> str:
    """The lasting name of the daemons that run in `state_dir`; made up when there is none yet."""
    path = os.path.join(state_dir, "instance")
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
    """Wait until nothing runs any more that a daemon before this one started; the lock to hand to this one's guardians.

    They die within milliseconds of their daemon, however it dies, but a run must not begin again before they have.
    Raises JobdError when some do not end.
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
            time.sleep(0.005)  # noqa: TID251 - no loop turns yet


def open_standard_streams() -> None:
    """Put /dev/null where standard input, output or error were closed: no other file may get their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - open as long as the process lives


def tune_process() -> None:
    """Keep memory and environment, which may hold a password, from this user's other processes, tasks among them; be
    the parent of orphans, so that none gets away; wake on the microsecond; pass the interpreter on quickly."""
    linux.be_undumpable()
    linux.adopt_orphans()
    linux.prctl(linux.PR_SET_TIMERSLACK, 1)  # ns
    sys.setswitchinterval(0.0005)


def freeze_garbage_collector() -> None:
    """What is there by now lives as long as the daemon, and of what comes and goes with each run nothing is cyclic: to
    look through all of it time and again took some hundredths of the processor time of a run."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
