"""The worker: takes an order, runs the task or program, restores the process, and sends the outcome.

It executes one run at a time, in the main thread. Further orders wait in the ring, where the daemon can revoke them. An
exception of a task, including SystemExit and KeyboardInterrupt, fails its run and nothing else.
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
from jobd.errors import MAX_ERROR
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

QUIET = 20  # milliseconds without an order, after which there is time for a thorough check
MAX_WORD = 300  # characters of a program's name that an error shows
CHILDREN_CLEAN_UP = 5.0  # seconds for child processes to end after SIGTERM
NO_PROGRAMS = "programs may not run on this node (commands = false in jobd.toml)"
NO_FORK = 'it cannot be forked, because the import of a plugin has started a thread: use isolation = "fresh"'


class Failure(Exception):
    """A program failed; the text says how."""


class NotStarted(Failure):
    """A program could not be started, so it printed no error itself."""


class Worker:
    """This process's side of the protocol. `commands`: whether programs may run. `memory` is closed."""

    def __init__(self, descriptor: int, memory: int, catalogue: Catalogue, commands: bool) -> None:
        self._orders, self._answers = rings(memory)
        os.close(memory)
        self._taken = self._answered = 0
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)  # no program that a task starts may send answers
        self._line = select.poll()
        self._line.register(descriptor, select.POLLIN)
        self._pid = os.getpid()
        self._commands = commands
        self._catalogue = catalogue
        self._output = Output()
        self._ending = Ending()
        self._state = State(descriptor, self._output)

    def serve(self) -> None:
        """Take orders until the daemon has closed the socket, or this process must not be used again."""
        secret = draw_secret()
        self._send_answer(encode("ready", VERSION, secret), secret)
        while self._may_take():
            order = decode_order(decode(self._orders.get(self._taken)))
            self._taken += 1
            if not self._state.context().run(self._run, order):
                return

    def _may_take(self) -> bool:
        """Wait for an order, and check the process meanwhile.

        False: no order will come, or this process must not be used again.
        """
        while True:
            if not self._line.poll(QUIET):
                if not self._state.check_thoroughly():
                    return False
                self._line.poll()
            with suppress(BlockingIOError):  # the daemon has revoked the order
                return bool(self._socket.recv(1, socket.MSG_DONTWAIT))

    def _run(self, order: Order) -> bool:
        """Execute an order and send the outcome. Return whether this process can be used again."""
        outcome, error, result = self._execute_in_child(order) if order.fork else self._execute(order)
        if os.getpid() != self._pid:
            os._exit(0)  # a child that the task forked and that returned: only this worker sends the outcome
        self._let_children_clean_up()
        if self._state.restore():
            secret = draw_secret()
            with suppress(OSError):
                self._send_answer(encode_done(order.serial, outcome, error, result, False, secret), secret)
                return True
        self._send_answer(encode_done(order.serial, outcome, error, result, True, None))
        return False

    def _execute(self, order: Order) -> tuple[str, str | None, str | None]:
        """Execute the order. The result is (outcome, error, result as JSON)."""
        try:
            value = self._call(order)
        except Unresolved as error:
            return UNRESOLVED, str(error)[:MAX_ERROR], None
        except (Failure, Unrunnable) as failure:
            if isinstance(failure, NotStarted):
                self._output.record("error", f"[jobd: {failure}]")
            return "failed", str(failure)[:MAX_ERROR], None
        except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt fail the run too
            self._explain(error)
            return "failed", summary(error), None
        return "succeeded", None, self._kept(value)

    def _execute_in_child(self, order: Order) -> tuple[str, str | None, str | None]:
        """Like `_execute`, but in a child. This process only loads the task's module."""
        try:
            with self._ending.by(lambda: None):  # the child receives the signal itself
                self._work(order)
                if threading.active_count() > 1 or len(sys._current_frames()) > 1:
                    return UNRESOLVED, NO_FORK, None
                self._output.restore()  # otherwise the child would also print the buffered output of the import
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
        with suppress(Exception):  # the task may have closed it or broken other objects
            self._output.restore()
        with suppress(Exception):
            self._let_children_clean_up()
            end_children(CHILDREN_EXIT_TIMEOUT)
        return encode_done(order.serial, *ended, True, None)

    def _let_children_clean_up(self) -> None:
        """After SIGTERM, which the children have received too, wait for their end."""
        if self._ending.asked:
            self._ending.asked = False
            linux.await_children(CHILDREN_CLEAN_UP)

    def _call(self, order: Order) -> Any:
        """Run the task or program and return its result. A SIGTERM that arrives meanwhile ends only this call."""
        try:
            self._ending.act = cancel
            if self._ending.asked:  # before the fork, while the worker loaded the module
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
            self._state.remember()
        return lambda: function(**order.args)

    def _run_program(self, command: Sequence[str]) -> None:
        with self._ending.by(linux.terminate_other_groups):
            run_program(command)

    def _kept(self, value: Any) -> str | None:
        if value is None:
            return None
        try:
            text = json.dumps(value, allow_nan=False)
        except BaseException:  # noqa: BLE001 - the methods of the result are the task's own code
            text = None
        if text is None or len(text) > MAX_RESULT:
            reason = "is not JSON" if text is None else f"is longer than {MAX_RESULT} characters of JSON"
            self._add_notice("warning", f"[jobd: what the task returned {reason} and was dropped]")
            return None
        return text

    def _explain(self, error: BaseException) -> None:
        """Add the traceback to the output of the run."""
        if text := explanation(error):
            self._add_notice("debug", text)

    def _add_notice(self, level: str, message: str) -> None:
        with suppress(OSError, ValueError):  # the task has closed its output
            self._output.record(level, message)

    def _send_answer(self, packet: bytes, secret: str | None = None) -> None:
        """Mark the end of the output and send the answer, in quick succession, so that the daemon wakes only once."""
        if secret is not None:
            self._output.mark_end(secret)
        self._answers.put(self._answered, packet)
        self._socket.send(TOKEN)
        self._answered += 1


def described(order: Order) -> CurrentRun:
    """The current run, for the task."""
    return CurrentRun(order.job, order.number, iso(order.due), order.attempt, order.deadline, order.token)


def run_program(command: Sequence[str]) -> None:
    """Run a program without a shell and wait for its end. Raises Failure unless its exit code is 0."""
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
    """Run a worker; does not return."""
    sys.argv = ["jobd"]
    try:
        Worker(descriptor, memory, catalogue, commands).serve()
    except (ConnectionError, BrokenPipeError):
        pass  # the daemon has ended
    os._exit(0)
