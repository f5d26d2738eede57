"""Runs commands of jobd quickly: each is a fork of a process that has already imported the command line.

`python -m tests.combine.errand SOCKET` serves until its standard input ends. If each command started an interpreter,
that would take most of the processor time of a play.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

NEVER = -1  # the exit code of a command that has exceeded its timeout
CHUNK = 65_536


class Answer(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    output: str
    errors: str


class Errands:
    """The process from which commands are forked. `environ`: the environment of all of them."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        command = [sys.executable, "-m", "tests.combine.errand", str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environ, cwd=path.parent)
        deadline = time.monotonic() + 60
        while not path.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the process for commands did not start")
            time.sleep(0.01)

    def run(self, words: Sequence[str], folder: Path, timeout: float, zone: str | None = None) -> Answer:
        """Run a command to its end, in a folder; after `timeout` seconds it is killed. Any thread may call this."""
        request = json.dumps({"words": list(words), "folder": str(folder), "timeout": timeout, "zone": zone})
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self._path))
            line.sendall(request.encode())
            line.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: line.recv(CHUNK), b""))
        return Answer(**json.loads(answer))

    def close(self) -> None:
        """Stop it. Commands that still run continue to their end."""
        self._process.kill()
        self._process.communicate()


def _serve(path: str) -> None:
    import jobd.cli
    import jobd.lifecycle
    import jobd.schedule
    import jobd.store

    for package in (jobd.cli, jobd.store, jobd.schedule):
        for module in pkgutil.iter_modules(package.__path__):
            with contextlib.suppress(ImportError):
                importlib.import_module(f"{package.__name__}.{module.name}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen(100)
    os.rename(path + ".new", path)
    os.set_blocking(0, False)
    listener.settimeout(0.2)
    while True:
        with contextlib.suppress(TimeoutError):
            line, _ = listener.accept()
            if not os.fork():
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                line.settimeout(None)
                _answer(line)
            line.close()
        with contextlib.suppress(BlockingIOError):
            if os.read(0, 1) == b"":
                return


def _answer(line: socket.socket) -> None:
    request = json.loads(b"".join(iter(lambda: line.recv(CHUNK), b"")))
    output, errors = os.memfd_create("output"), os.memfd_create("errors")
    child = os.fork()
    if not child:
        _command(request, output, errors)
    give_up = time.monotonic() + request["timeout"]
    pidfd = os.pidfd_open(child)
    import select

    ended = bool(select.select([pidfd], [], [], max(0.0, give_up - time.monotonic()))[0])
    if not ended:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = [os.pread(file, 50_000_000, 0).decode("utf-8", "replace") for file in (output, errors)]
    line.sendall(json.dumps(Answer(code if ended else NEVER, *texts)._asdict()).encode())
    line.close()
    os._exit(0)


def _command(request: dict[str, Any], output: int, errors: int) -> None:
    from jobd.__main__ import main

    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["folder"])
    if request["zone"] is not None:
        os.environ["TZ"] = request["zone"]
        time.tzset()
    sys.argv = ["jobd", *request["words"]]
    code: Any = 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    _serve(sys.argv[1])
