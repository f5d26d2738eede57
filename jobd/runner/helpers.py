"""Ends multiprocessing's helper processes, the fork server and the resource tracker, at the end of a run.

multiprocessing would continue to use them, so its references to them are cleared. The tracker is not killed but ends by
itself, because it unlinks the shared memory and the semaphores that the run has left.
"""

import contextlib
import os
import select
import sys
from typing import Any

from jobd import linux

TRACKER_EXIT_TIMEOUT = 5.0  # seconds; a tracker is a Python process that may just have started


def end_children(seconds: float) -> bool:
    """Kill every descendant. Return whether they ended; each of two attempts may take `seconds`."""
    clear_fork_server()
    tracker = _tracker()
    pid = tracker._pid if tracker is not None else None
    if not linux.kill_descendants(seconds, spared=pid or 0):
        return False
    if tracker is None or pid is None:
        return True
    is_ours = pid in linux.children()  # not the tracker of the worker that forked this process
    os.close(tracker._fd)  # the last descriptor of its pipe: closing it ends the tracker
    tracker._fd = tracker._pid = None
    if is_ours:
        with contextlib.suppress(ProcessLookupError):
            select.select([ended := os.pidfd_open(pid)], [], [], TRACKER_EXIT_TIMEOUT)
            os.close(ended)
    return linux.kill_descendants(seconds)


def clear_fork_server() -> None:
    """Clear multiprocessing's reference to its fork server, so that the next run that needs one starts it."""
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
    """multiprocessing's resource tracker, if it has been started."""
    module: Any = sys.modules.get("multiprocessing.resource_tracker")
    return module._resource_tracker if module is not None and module._resource_tracker._fd is not None else None
