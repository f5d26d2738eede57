"""The life of the daemon: lock → process → log → engine → one loop that waits for everything → close.

The loop waits in one place, for workers, keeper, signals, control socket and the results of background work. A signal
arrives as a byte on a socket, so it is handled between two steps and never in the middle of one.

    SIGTERM, SIGINT   drain; the second signal aborts      SIGHUP    reload
    SIGUSR1           log the status
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import daemon

from jobd import __version__, config, logs
from jobd.daemon import pidfile
from jobd.daemon.background import Background
from jobd.daemon.control import AFTER_DRAIN, Document, Reply, Server
from jobd.daemon.plugins import environment, has_program
from jobd.daemon.prepare import (
    check_plugins,
    freeze_garbage_collector,
    instance_of,
    make_state_dir,
    tune_process,
    wait_for_workers,
)
from jobd.daemon.reload import Effect, Reloader
from jobd.daemon.snapshots import Snapshots
from jobd.daemon.systemd import notify, watchdog_interval
from jobd.engine.engine import Engine
from jobd.engine.nodelock import NodeLock
from jobd.engine.spawner import ProcessSpawner, Spawner
from jobd.errors import JobdError
from jobd.localzone import with_zone
from jobd.schedule import discard_rules, load_kinds
from jobd.settings import Settings

CHECK_INTERVAL = 5.0  # seconds; an idle loop checks only when the keeper wakes it, at the next heartbeat
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
LOG_FILE = "jobd.log"  # in the state directory; only a daemon in the background writes it
SHORT_WAIT = 0.05  # seconds; longer waits are shortened
SHORTENED_TO = 0.99  # by this factor


def shortened(wait: float) -> float:
    """The first part of a wait, in seconds; the loop then waits again for the rest.

    Linux lets a select() end late by a thousandth of its timeout (five thousandths in a niced process), regardless of
    the timer slack: `select_estimate_accuracy` in fs/select.c. That is 1 ms for a second.
    """
    return wait * SHORTENED_TO if wait > SHORT_WAIT else wait


def run_foreground(settings: Settings) -> None:
    """Run the daemon in this process until it is stopped. Raises JobdError if it cannot start or continue."""
    settings = with_zone(settings)
    lock = _prepare(settings)
    with _process(settings, lock, False):
        lock.write_pid()
        _Service(settings, lambda: with_zone(config.load(settings.path))).run(_ignore_start)


def start_detached(settings: Settings) -> int:
    """Start a daemon in the background and return its process id when it is up. Raises JobdError with the reason."""
    settings = with_zone(settings)
    lock = _prepare(settings)
    read_end, write_end = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    child = os.fork()  # noqa: TID251 - no thread has been started yet
    if child == 0:
        os.close(read_end)
        _be_daemon(settings, lock, write_end)
    lock.close()
    os.close(write_end)
    os.waitpid(child, 0)  # it exits as soon as the daemon is detached from it
    with open(read_end, "rb") as answer:
        text = answer.read()
    if not text:
        raise JobdError("the daemon ended before it was up", f"see the log in {settings.state_dir}")
    outcome: Document = json.loads(text)
    if "error" in outcome:
        refusal = JobdError(outcome["error"], outcome["hint"])
        refusal.exit_code = outcome["code"]
        raise refusal
    pid: int = outcome["pid"]
    return pid


def _prepare(settings: Settings) -> pidfile.Lock:
    check_plugins(settings)
    make_state_dir(settings.state_dir)
    lock = pidfile.acquire(settings.state_dir)
    if lock is None:
        pid = pidfile.holder(settings.state_dir)
        raise JobdError(f"jobd is already running in {settings.state_dir}" + (f" (pid {pid})" if pid else ""))
    return lock


def _process(settings: Settings, lock: pidfile.Lock, detach: bool, *keep: int) -> daemon.DaemonContext:
    """python-daemon's context. It closes all other descriptors, so the daemon opens its own after entering it."""
    return daemon.DaemonContext(
        detach_process=detach,
        working_directory=settings.state_dir,
        umask=0o077,
        files_preserve=[lock.descriptor, *keep],
        stdout=None if detach else sys.stdout,
        stderr=None if detach else sys.stderr,
        signal_map={},
    )


def _be_daemon(settings: Settings, lock: pidfile.Lock, ready: int) -> None:
    """Run a daemon in the background; never returns. It writes to `ready` that it is up, or the error."""
    reported = False

    def report_start(outcome: Document) -> None:
        nonlocal reported
        if not reported:
            reported = True
            with contextlib.suppress(OSError):  # the command that waits has ended
                os.write(ready, json.dumps(outcome).encode())
            os.close(ready)

    code = 1
    try:
        with _process(settings, lock, True, ready):
            lock.write_pid()
            _Service(_with_log_file(settings), lambda: _with_log_file(with_zone(config.load(settings.path)))).run(
                lambda: report_start({"pid": os.getpid()})
            )
        code = 0
    except JobdError as error:
        code = error.exit_code
        report_start({"error": str(error), "hint": error.hint, "code": code})
    except BaseException as error:  # noqa: BLE001 - no exception may reach the callers in the forked command
        report_start({"error": f"a bug in jobd: {_where(error)}", "hint": "please report it", "code": code})
    finally:
        os._exit(code)


def _with_log_file(settings: Settings) -> Settings:
    if settings.log.file is not None:
        return settings
    return settings._replace(log=settings.log._replace(file=os.path.join(settings.state_dir, LOG_FILE)))


def _ignore_start() -> None:
    pass


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})" if trace is not None else ""
    return f"{type(error).__name__}: {error}{place}"


class _Service:
    """One daemon, in a prepared process. Raises JobdError if it cannot start."""

    def __init__(self, settings: Settings, read_settings: Callable[[], Settings]) -> None:
        self._settings = settings
        tune_process()
        logs.setup(settings.log)
        lock = NodeLock()
        locks = [wait_for_workers(settings.state_dir), *lock.descriptors]
        self._here = os.getcwd()
        snapshots = Snapshots(".")
        self._code = snapshots.take(settings.plugins)
        self._locks = locks
        self._spawners: list[ProcessSpawner] = []
        self._engine = Engine(settings, instance_of(settings.state_dir), self._spawner, lock)
        self._background = Background()
        self._reloader = Reloader(
            Effect(settings, self._code),
            snapshots,
            self._background,
            read_settings,
            self._put_into_effect,
            lambda: [one.code for one in self._spawners if one.is_in_use()],
        )
        self._interval = watchdog_interval()
        self._alive_at = self._next_check_at = 0.0
        self._stopping = False
        self._signalled = False  # to stop; the next such signal aborts

    def run(self, up: Callable[[], None]) -> None:
        """Start, call `up`, and run the loop until the engine has finished. Raises JobdError."""
        try:
            self._live(up)
        except JobdError as error:
            logs.log("critical", str(error))
            raise
        except Exception as error:
            logs.log("critical", f"a bug in jobd: {_where(error)}")
            raise

    def _live(self, up: Callable[[], None]) -> None:
        self._signals = _catch_signals()
        self._engine.start()
        load_kinds()  # imports now: later, no descriptor may be free
        freeze_garbage_collector()
        try:
            self._control = Server(self._settings.state_dir, self._answer)
            try:
                self._log_start()
                up()
                self._reloader.list_plugins()
                while not self._engine.finished:
                    self._step()
            finally:
                self._control.close()
        finally:
            self._engine.close()
            for number in SIGNALS:  # a further signal must not kill the interpreter while it shuts down
                signal.signal(number, signal.SIG_IGN)
        logs.log("info", "jobd has stopped")

    def _log_start(self) -> None:
        workers, zone = sum(self._settings.pools.values()), self._settings.timezone
        logs.log("info", f"jobd {__version__} is up: node {self._engine.node}, {workers} workers, time zone {zone}")
        notify("READY=1", "STATUS=running jobs")

    def _step(self) -> None:
        """Wait for an event and handle it."""
        waiting_for = [*self._engine.readers(), *self._control.descriptors()]
        waiting_for += [self._background.descriptor, self._signals.fileno()]
        ready = set(select.select(waiting_for, [], [], self._timeout())[0])
        if self._signals.fileno() in ready:
            for number in self._signals.recv(4096):
                self._receive(number)
        for descriptor in self._control.descriptors():
            if descriptor in ready:
                self._control.handle(descriptor)
        if self._background.descriptor in ready:
            self._background.handle()
        self._engine.step(ready)
        if self._engine.takes_unknown_task():
            self._follow_state_dir()
            self._reloader.search_again()
        self._check_itself()

    def _timeout(self) -> float | None:
        wait = self._engine.wait_seconds()
        if wait is not None:
            wait = shortened(wait)
        if self._interval is None:
            return wait
        until = max(0.0, self._alive_at + self._interval - time.monotonic())
        return until if wait is None else min(wait, until)

    def _check_itself(self) -> None:
        now = time.monotonic()
        if now >= self._next_check_at:
            self._next_check_at = now + CHECK_INTERVAL
            self._control.check()
            self._reloader.check()
            self._follow_state_dir()
        if self._interval is not None and now >= self._alive_at + self._interval and self._engine.healthy():
            self._alive_at = now
            notify("WATCHDOG=1")

    def _follow_state_dir(self) -> None:
        """Replace the workers if the state directory, from which they import the plugins, has been moved."""
        try:
            here = os.getcwd()
        except OSError:
            return  # it has been deleted
        if here != self._here:
            self._engine.reload(self._settings)
            self._here = here

    # Signals and requests

    def _receive(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            # A late answer to `jobd stop` makes it send SIGTERM too: that is not a second request to stop.
            self._stop(now=self._signalled)
            self._signalled = True
        elif number == signal.SIGHUP:
            self._reload(_ignore_reply)
        elif number == signal.SIGUSR1:
            logs.log("info", f"status: {json.dumps(self._status(), ensure_ascii=False)}")

    def _answer(self, request: Document, reply: Reply) -> None:
        match request:
            case {"do": "status"}:
                reply(self._status())
            case {"do": "changed"}:
                self._engine.refresh(lambda trouble: reply({"database": trouble or "ok"}))
            case {"do": "tasks"} if self._background.is_full:
                reply({"error": "too many commands ask the daemon for its tasks", "hint": "try again in a moment"})
            case {"do": "tasks"}:
                asked = request.get("asked")
                self._reloader.tasks(asked if isinstance(asked, str) else None, reply)
            case {"do": "program", "word": str(word)}:
                reply({"found": has_program(self._settings, word)})
            case {"do": "reload"}:
                self._reload(reply)
            case {"do": "stop"}:
                timeout = request.get("timeout")
                self._stop(request.get("now") is True, timeout if type(timeout) is int else None)
                reply({"timeout": self._engine.drains_for()})
            case _:
                reply({"error": "there is no such request"})

    def _status(self) -> Document:
        return {
            **self._engine.status(),
            "pid": os.getpid(),
            "version": __version__,
            "config": self._settings.path,
            "systemd": "NOTIFY_SOCKET" in os.environ,
        }

    def _reload(self, reply: Reply) -> None:
        if self._stopping:
            reply({"error": "jobd is stopping", "hint": ""})
        else:
            self._reloader.request(reply)

    def _stop(self, now: bool, timeout: int | None = None) -> None:
        """Stop, and end the runs in progress after `timeout` µs (None: `stop_timeout`), or now."""
        if not self._stopping:
            self._stopping = True
            logs.log("info", "jobd is stopping" + ("" if now else "; runs in progress may finish"))
        # The unit's TimeoutStopSec fits stop_timeout, so systemd would kill a daemon that takes longer.
        longer = [f"EXTEND_TIMEOUT_USEC={timeout + AFTER_DRAIN}"] if timeout is not None else []
        notify("STOPPING=1", "STATUS=stopping", *longer)
        self._engine.drain(timeout)
        if now:
            self._engine.abort()

    def _put_into_effect(self, effect: Effect) -> None:
        if self._stopping:
            raise JobdError("jobd is stopping")
        before = self._code
        self._code = effect.code
        logs.setup(effect.settings.log)
        discard_rules()
        try:
            self._engine.reload(effect.settings)
        except JobdError:
            self._code = before
            logs.setup(self._settings.log)
            raise
        self._settings = effect.settings

    def _spawner(self, settings: Settings) -> Spawner:
        # The state directory is the daemon's working directory, even after it has been moved.
        new = ProcessSpawner(self._code, ".", settings.commands, environment(settings), self._locks)
        self._spawners = [*(one for one in self._spawners if one.is_in_use()), new]
        return new


def _catch_signals() -> socket.socket:
    """Deliver signals as bytes on the returned socket from now on."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, _ignore_signal)
    return reader


def _ignore_signal(number: int, frame: Any) -> None:
    pass


def _ignore_reply(answer: Document) -> None:
    pass
