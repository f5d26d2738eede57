"""Restores a worker process between runs, and reports if a task's change to it cannot be undone.

    kernel.py      the kernel's state of the process
    stdlib.py      settings of the standard library
    patches.py     replaced functions of the standard library
    recorders.py   logging and loguru
    loops.py       asyncio's current loop
    helpers.py     multiprocessing's helper processes

After each run, the process is restored and checked within microseconds. A thorough check takes tenths of a millisecond,
and more with many modules. It runs when the worker has had no order for a while, so that no run waits for it. While
orders follow each other without a pause, it runs after the first run of each task, and then so often that it takes one
part in THOROUGH_SHARE of the time.

Changes made by the import of a plugin are not undone: they stay, as the module does.
"""

import contextvars
import os
import resource
import sys
import threading
import time

from jobd import linux
from jobd.runner.helpers import end_children
from jobd.runner.kernel import Kernel
from jobd.runner.loops import Loops
from jobd.runner.output import Output
from jobd.runner.patches import Functions
from jobd.runner.recorders import Logging, Loguru
from jobd.runner.stdlib import Standard

GROWTH = 256 * 1024  # KiB of peak memory; a worker that grows by more is replaced
THOROUGH_SHARE = 400  # thorough checks take 1/400 of the time
CHILDREN_EXIT_TIMEOUT = 1.0  # seconds


class State:
    """The state of the process before any task ran."""

    def __init__(self, socket: int, output: Output) -> None:
        self._output = output
        self._kernel = Kernel(socket)
        self._standard = Standard()
        self._functions = Functions()
        self._logging = Logging(output.record)
        self._loguru = Loguru(output.record)
        self._loops = Loops()
        self._zone = time.tzname
        self._recursion = sys.getrecursionlimit()
        self._modules = sys.modules
        self._memory = 0
        self._thorough_at = 0  # time.monotonic_ns()
        self._is_checked = True  # nothing has run since the last thorough check
        self._restored = True  # False: before an import, the changes of earlier runs could not be undone
        self._decimal: object = None
        self._remember_cheap()

    def await_import(self) -> None:
        """Undo changes of earlier runs before an import, so that `remember` does not accept them."""
        self._restored = self.check_thoroughly() and self._restored

    def remember(self) -> None:
        """Accept the present state, after an import: its changes stay."""
        self._remember_cheap()
        self._kernel.remember()
        self._standard.remember()
        self._functions.remember()
        self._logging.remember()
        self._loguru.remember()
        self._loops.remember()
        self._thorough_at = 0

    def context(self) -> contextvars.Context:
        """A context for one run. Context variables that the run sets, and decimal's context, end with it."""
        context = self._context.copy()
        if self._decimal is not None:
            decimal = sys.modules["decimal"]
            context.run(lambda: decimal.setcontext(self._decimal.copy()))  # type: ignore[attr-defined]
        return context

    def restore(self) -> bool:
        """Restore the process after a run. False: that is not possible, and the process must not be used again."""
        try:
            self._is_checked = False
            self._kernel.free_output()
            intact = self._restore_objects() and self._restored
            self._output.restore()
            self._restore_values()
            intact = self._is_intact() and intact
            return intact and (time.monotonic_ns() < self._thorough_at or self._is_thoroughly_intact())
        except BaseException:  # noqa: BLE001 - the task may have broken anything, and its outcome must be sent
            return False

    def check_thoroughly(self) -> bool:
        """Check thoroughly, while no order waits. False: the process must not be used again."""
        try:
            return self._is_checked or self._is_thoroughly_intact()
        except BaseException:  # noqa: BLE001 - the same
            return False

    def _remember_cheap(self) -> None:
        self._environ = dict(_raw_environment())
        self._path = list(sys.path)
        self._module_count = len(sys.modules)
        self._context = contextvars.copy_context()
        if "decimal" in sys.modules:
            self._decimal = sys.modules["decimal"].getcontext().copy()

    def _restore_objects(self) -> bool:
        """Restore objects whose methods may be the task's own code (a handler's `close`): they may print or fork."""
        self._loops.restore()
        if not self._logging.root_is_intact():
            self._logging.restore()
        return self._loguru.restore()

    def _restore_values(self) -> None:
        if _raw_environment() != self._environ:
            os.environb.clear()
            os.environb.update(self._environ)
        if time.tzname is not self._zone:  # each tzset makes a new tuple
            time.tzset()
            self._zone = time.tzname
        if sys.path != self._path:
            sys.path = list(self._path)
        if sys.getrecursionlimit() != self._recursion:
            sys.setrecursionlimit(self._recursion)

    def _is_intact(self) -> bool:
        return (
            (not linux.reap_children() or end_children(CHILDREN_EXIT_TIMEOUT))
            and self._kernel.restore()
            and threading.active_count() == 1
            and len(sys._current_frames()) == 1
            and sys.modules is self._modules
            and len(sys.modules) >= self._module_count
        )

    def _is_thoroughly_intact(self) -> bool:
        began = time.process_time_ns()
        self._output.reconfigure()
        self._standard.restore()
        self._logging.restore()
        intact = self._kernel.restore_rest() and self._functions.are_intact() and not self._has_grown()
        took = time.process_time_ns() - began
        self._is_checked = intact and self._functions.learn()  # slow, but once for each module
        self._thorough_at = time.monotonic_ns() + THOROUGH_SHARE * took
        return self._is_checked

    def _has_grown(self) -> bool:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._memory = self._memory or used
        return used > self._memory + GROWTH


def _raw_environment() -> dict[bytes, bytes]:
    """The environment as Python holds it: comparing os.environ itself decodes every name and value, 40 times slower."""
    return os.environ._data  # type: ignore[attr-defined,no-any-return]
