"""The control socket, with real sockets: it is bounded, never blocks, and may answer later."""

import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobd.daemon import control
from jobd.daemon.control import Document, Reply, Server, ask


class Runner:
    """Serves in a thread, as the daemon's loop does."""

    def __init__(self, folder: Path, answer: Callable[[Document, Reply], None]) -> None:
        self.server = Server(str(folder), answer)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.is_set():
            for descriptor in select.select(self.server.descriptors(), [], [], 0.01)[0]:
                self.server.handle(descriptor)

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self.server.close()


def echo(request: Document, reply: Reply) -> None:
    reply({"got": request})


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    runner = Runner(tmp_path, echo)
    yield tmp_path
    runner.close()


def connect(folder: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect(str(folder / "jobd.sock"))
    return client


def test_a_request_is_answered(served: Path) -> None:
    assert ask(str(served), {"do": "é\n"}, 5) == {"got": {"do": "é\n"}}


def test_the_socket_is_for_its_user_alone(served: Path) -> None:
    assert stat.S_IMODE(os.stat(served / "jobd.sock").st_mode) == 0o600


def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    runner = Runner(folder, echo)
    assert ask(str(folder), {}, 5) == {"got": {}}
    runner.close()


def test_without_a_daemon_there_is_no_answer(tmp_path: Path) -> None:
    assert ask(str(tmp_path), {}, 1) is None
    assert ask(str(tmp_path / "none"), {}, 1) is None
    assert ask(str(tmp_path / ("x" * 120)), {}, 1) is None


def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "jobd.sock"))
    dead.close()
    assert ask(str(tmp_path), {}, 1) is None
    runner = Runner(tmp_path, echo)
    assert ask(str(tmp_path), {}, 5) == {"got": {}}
    runner.close()
    assert not (tmp_path / "jobd.sock").exists()


def test_an_answer_may_come_later(tmp_path: Path) -> None:
    replies: list[Reply] = []
    runner = Runner(tmp_path, lambda request, reply: replies.append(reply))
    answers: list[Document | None] = []
    asking = threading.Thread(target=lambda: answers.append(ask(str(tmp_path), {}, 10)))
    asking.start()
    deadline = time.monotonic() + 5
    while not replies and time.monotonic() < deadline:
        time.sleep(0.001)
    replies[0]({"late": True})
    asking.join()
    replies[0]({"twice": True})  # nobody is there any more
    runner.close()
    assert answers == [{"late": True}]


def test_no_answer_in_time_is_no_answer(tmp_path: Path) -> None:
    runner = Runner(tmp_path, lambda request, reply: None)
    assert ask(str(tmp_path), {}, 0.05) is None
    runner.close()


@pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n", b"[" * 60_000 + b"\n", b"\xff\xfe\n", b'"x"\n'])
def test_nonsense_is_answered_with_an_error(served: Path, line: bytes) -> None:
    client = connect(served)
    client.sendall(line)
    assert b"error" in client.recv(4096)
    assert ask(str(served), {}, 5) == {"got": {}}


def test_an_endless_request_is_cut_off(served: Path) -> None:
    client = connect(served)
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        client.sendall(b"x" * 64_000_000)


def test_idle_clients_cannot_shut_others_out(served: Path) -> None:
    clients = [connect(served) for _ in range(control.MAX_CLIENTS * 2)]
    assert ask(str(served), {}, 5) == {"got": {}}
    for client in clients:
        client.close()


def test_a_large_answer_arrives_complete(tmp_path: Path) -> None:
    runner = Runner(tmp_path, lambda request, reply: reply({"text": "x" * 150_000}))
    answer = ask(str(tmp_path), {}, 5)
    assert answer is not None
    assert len(answer["text"]) == 150_000
    runner.close()
