"""The processes that multiprocessing starts for itself, the fork server and the resource tracker, end with the run.

The modules would go on to count on them, so they are made to forget them. The tracker is not killed, but left to end:
it unlinks the shared memory and the semaphores that the run has left.
"""

import contextlib
import os
import select
import sys
from typing import Any

from jobd import linux

TRACKER_EXIT_TIMEOUT = 5.0  # seconds; it is a Python that may just have been started


def end_children(seconds: float) -> bool:
    """Kill every descendant; whether that was done in time."""
    forget_fork_server()
    tracker = _tracker()
    pid = tracker._pid if tracker is not None else None
    if not linux.kill_descendants(seconds, spared=pid or 0):
        return False
    if tracker is None or pid is None:
        return True
    is_ours = pid in linux.children()  # not that of the worker from which this process was forked
    os.close(tracker._fd)  # the last that holds it: that ends the tracker
    tracker._fd = tracker._pid = None
    if is_ours:
        with contextlib.suppress(ProcessLookupError):
            select.select([ended := os.pidfd_open(pid)], [], [], TRACKER_EXIT_TIMEOUT)
            os.close(ended)
    return linux.kill_descendants(seconds)


def forget_fork_server() -> None:
    """The next run that wants one starts it."""
    module: Any = sys.modules.get("multiprocessing.forkserver")
    server = module and module._forkserver
    if not server or server._forkserver_pid is None:
        return
    os.close(server._forkserver_alive_fd)
    with contextlib.suppress(OSError, TypeError):
        os.unlink(server._forkserver_address)
    server._forkserver_address = server._forkserver_alive_fd = server._forkserver_pid = None
    if hasattr(server, "_forkserver_authkey"):  # Python 3.14
        server._forkserver_authkey = None


def _tracker() -> Any:
    """The tracker that a run has started."""
    module: Any = sys.modules.get("multiprocessing.resource_tracker")
    return module._resource_tracker if module is not None and module._resource_tracker._fd is not None else None
