"""The worker proper: takes an order, runs the task or program, puts the process back in order, and says how it ended.

One run at a time, in the main thread; further orders wait in the ring, where the daemon can take them back. Whatever
a task raises, SystemExit and KeyboardInterrupt included, is the failure of its run and of nothing else.
"""

import json
import os
import select
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from jobd import linux
from jobd.api import CurrentRun, enter_run
from jobd.clock import iso
from jobd.exits import describe, signal_name
from jobd.plugins.catalogue import Catalogue, Unresolved
from jobd.plugins.function import Unrunnable
from jobd.ring import rings
from jobd.runner.call import PLAIN, complete
from jobd.runner.ending import Ending, cancel
from jobd.runner.failure import explanation, summary
from jobd.runner.fork import run_in_child
from jobd.runner.helpers import end_children
from jobd.runner.output import Output, draw_secret
from jobd.runner.reset import CHILDREN_EXIT_TIMEOUT, State
from jobd.wire import (
    MAX_ERROR,
    MAX_RESULT,
    TOKEN,
    UNRESOLVED,
    VERSION,
    Order,
    WireError,
    decode,
    decode_done,
    decode_order,
    encode,
    encode_done,
)

QUIET = 20  # milliseconds without an order, after which there is time to look thoroughly
MAX_WORD = 300  # characters of a program's name that an error shows
CHILDREN_CLEAN_UP = 5.0  # seconds
NO_PROGRAMS = "programs may not run on this node (commands = false in jobd.toml)"
NO_FORK = 'it cannot be forked, because the import of a plugin has started a thread: use isolation = "fresh"'


class Failure(Exception):
    """A program failed; the text says how."""


class NotStarted(Failure):
    """A program could not be started, so that it has said nothing itself."""


class Worker:
    """This process's side of the wire."""

    def __init__(self, descriptor: int, memory: int, catalogue: Catalogue, commands: bool) -> None:
        self._orders, self._answers = rings(memory)
        os.close(memory)
        self._taken = self._answered = 0
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)  # no program that a task starts may speak for this worker
        self._line = select.poll()
        self._line.register(descriptor, select.POLLIN)
        self._pid = os.getpid()
        self._commands = commands
        self._catalogue = catalogue
        self._output = Output()
        self._ending = Ending()
        self._state = State(descriptor, self._output)

    def serve(self) -> None:
        """Take orders until the daemon is gone, or this process is not fit for another."""
        secret = draw_secret()
        self._send_answer(encode("ready", VERSION, secret), secret)
        while self._may_take():
            order = decode_order(decode(self._orders.get(self._taken)))
            self._taken += 1
            if not self._state.context().run(self._run, order):
                return

    def _may_take(self) -> bool:
        """Wait for an order, and use that time: False when there is none to come, or this process is not fit for it."""
        while True:
            if not self._line.poll(QUIET):
                if not self._state.settle():
                    return False
                self._line.poll()
            with suppress(BlockingIOError):  # the daemon has taken the order back
                return bool(self._socket.recv(1, socket.MSG_DONTWAIT))

    def _run(self, order: Order) -> bool:
        """Run it and tell how it ended; whether this process can go on."""
        outcome, error, result = self._execute_in_child(order) if order.fork else self._execute(order)
        if os.getpid() != self._pid:
            os._exit(0)  # a copy of this process that the task forked and that came back: only the original reports
        self._let_children_clean_up()
        if self._state.restore():
            secret = draw_secret()
            with suppress(OSError):
                self._send_answer(encode_done(order.serial, outcome, error, result, False, secret), secret)
                return True
        self._send_answer(encode_done(order.serial, outcome, error, result, True, None))
        return False

    def _execute(self, order: Order) -> tuple[str, str | None, str | None]:
        """(outcome, error, result as JSON)"""
        try:
            value = self._call(order)
        except Unresolved as error:
            return UNRESOLVED, str(error)[:MAX_ERROR], None
        except (Failure, Unrunnable) as failure:
            if isinstance(failure, NotStarted):
                self._output.record("error", f"[jobd: {failure}]")
            return "failed", str(failure)[:MAX_ERROR], None
        except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt too are the task's own failure
            self._explain(error)
            return "failed", summary(error), None
        return "succeeded", None, self._kept(value)

    def _execute_in_child(self, order: Order) -> tuple[str, str | None, str | None]:
        """The same, but nothing of the run happens in this process, except that the task's module is loaded."""
        try:
            with self._ending.by(lambda: None):  # the child has got the signal itself
                self._work(order)
                if threading.active_count() > 1 or len(sys._current_frames()) > 1:
                    return UNRESOLVED, NO_FORK, None
                self._output.restore()  # what the import has not flushed, the child would print too
                packet, status = run_in_child(lambda: self._be_child(order))
        except Unresolved as error:
            return UNRESOLVED, str(error)[:MAX_ERROR], None
        except OSError as error:
            return "failed", f"it could not be forked: {error.strerror}", None
        if status:
            return "failed", describe(status), None
        try:
            done = decode_done(decode(packet))
        except WireError:
            return "failed", "its process ended before the task returned", None
        return done.outcome, done.error, done.result

    def _be_child(self, order: Order) -> bytes:
        self._pid = os.getpid()
        self._socket.close()
        self._orders.close()
        self._ending.install_handler()
        ended = self._execute(order)
        if os.getpid() != self._pid:
            os._exit(0)
        with suppress(Exception):  # the task may have closed it, and broken more
            self._output.restore()
        with suppress(Exception):
            self._let_children_clean_up()
            end_children(CHILDREN_EXIT_TIMEOUT)
        return encode_done(order.serial, *ended, True, None)

    def _let_children_clean_up(self) -> None:
        """They have got the signal too."""
        if self._ending.asked:
            self._ending.asked = False
            linux.await_children(CHILDREN_CLEAN_UP)

    def _call(self, order: Order) -> Any:
        """Run it; what it returned. A request to end it that comes meanwhile ends this, and nothing after it."""
        try:
            self._ending.act = cancel
            if self._ending.asked:  # while its module was being loaded, for a child
                cancel()
            work = self._work(order)
            enter_run(lambda: described(order))
            value = work()
            return value if type(value) in PLAIN else complete(value, self._ending)
        finally:
            self._ending.act = None
            enter_run(None)

    def _work(self, order: Order) -> Callable[[], Any]:
        if order.command is not None:
            if not self._commands:
                raise Unresolved(NO_PROGRAMS)
            command = order.command
            return lambda: self._run_program(command)
        assert order.task is not None
        is_new = order.task not in self._catalogue
        if is_new:
            self._state.await_import()
        function = self._catalogue.find(order.task)
        if is_new:
            self._state.keep()
        return lambda: function(**order.args)

    def _run_program(self, command: Sequence[str]) -> None:
        with self._ending.by(linux.terminate_other_groups):
            run_program(command)

    def _kept(self, value: Any) -> str | None:
        if value is None:
            return None
        try:
            text = json.dumps(value, allow_nan=False)
        except BaseException:  # noqa: BLE001 - the methods of what it returned are the task's own code
            text = None
        if text is None or len(text) > MAX_RESULT:
            reason = "is not JSON" if text is None else f"is longer than {MAX_RESULT} characters of JSON"
            self._add_notice("warning", f"[jobd: what the task returned {reason} and was dropped]")
            return None
        return text

    def _explain(self, error: BaseException) -> None:
        """Keep the traceback with what the run printed."""
        if text := explanation(error):
            self._add_notice("debug", text)

    def _add_notice(self, level: str, message: str) -> None:
        with suppress(OSError, ValueError):  # the task has closed its output
            self._output.record(level, message)

    def _send_answer(self, packet: bytes, secret: str | None = None) -> None:
        """Mark the end of the output, then send: with little between, or the daemon wakes for each of the two."""
        if secret is not None:
            self._output.mark_end(secret)
        self._answers.put(self._answered, packet)
        self._socket.send(TOKEN)
        self._answered += 1


def described(order: Order) -> CurrentRun:
    """What a task is told of the run that it is in."""
    return CurrentRun(order.job, order.number, iso(order.due), order.attempt, order.deadline, order.token)


def run_program(command: Sequence[str]) -> None:
    """Run a program, without a shell, and wait for it. Raises Failure unless it ends with exit code 0."""
    import subprocess

    parent = os.getpid()
    try:
        status = subprocess.call(
            command,
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: linux.die_with_parent(parent),
        )
    except FileNotFoundError:
        raise NotStarted(f"there is no program {_shortened(command[0])}") from None
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise NotStarted(f"{_shortened(command[0])} cannot be run: {reason}") from None
    if status < 0:
        raise Failure(f"killed by {signal_name(-status)}")
    if status:
        raise Failure(f"exit code {status}")


def _shortened(word: str) -> str:
    shown = repr(word)
    return shown if len(shown) <= MAX_WORD else f"{shown[:MAX_WORD]}…"


def main(descriptor: int, memory: int, catalogue: Catalogue, commands: bool) -> None:
    """Be a worker; does not return."""
    sys.argv = ["jobd"]
    try:
        Worker(descriptor, memory, catalogue, commands).serve()
    except (ConnectionError, BrokenPipeError):
        pass  # the daemon is gone
    os._exit(0)
