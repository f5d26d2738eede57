"""A node's lock, with real processes and namespaces: the kernel knows which node lives."""

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from jobd.engine.nodelock import NodeLock
from tests.installation import ROOT, until

ASK = "from jobd.engine.nodelock import NodeLock; import sys; print(NodeLock().is_held(sys.argv[1]))"


@pytest.fixture
def lock() -> Iterator[NodeLock]:
    lock = NodeLock()
    yield lock
    lock._held.close()


@pytest.fixture
def other() -> Iterator[NodeLock]:
    """The lock of another node."""
    lock = NodeLock()
    yield lock
    lock._held.close()


def name(lock: NodeLock) -> str:
    assert lock.name is not None
    return lock.name


def asked_elsewhere(lock: NodeLock, *before: str) -> str:
    """The answer of another process about a lock."""
    command = [*before, sys.executable, "-c", ASK, name(lock)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_a_lock_is_held_as_long_as_its_process_lives(lock: NodeLock) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", "from jobd.engine.nodelock import NodeLock\nlock = NodeLock()\n"
         "print(lock.name, flush=True)\ninput()"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None
    theirs = other.stdout.readline().strip()
    assert lock.is_held(theirs)
    other.kill()
    other.communicate()
    assert not lock.is_held(theirs)


def test_it_is_held_on_by_those_who_inherit_it(lock: NodeLock, other: NodeLock) -> None:
    with subprocess.Popen(["sleep", "100"], pass_fds=lock.descriptors) as heir:
        lock._held.close()
        assert other.is_held(name(lock))
        heir.kill()
        heir.wait()
        until(lambda: not other.is_held(name(lock)), "the end of the lock")


def test_another_process_sees_it(lock: NodeLock) -> None:
    assert asked_elsewhere(lock) == "True"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_sees_it(lock: NodeLock) -> None:
    with_nobodys_rights = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    if subprocess.run([*with_nobodys_rights, "test", "-r", ROOT], check=False).returncode:
        pytest.skip("nobody may read the checkout")
    assert asked_elsewhere(lock, *with_nobodys_rights) == "True"


def test_a_machine_of_another_network_does_not_see_it(lock: NodeLock) -> None:
    into_another = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--net"]
    if subprocess.run([*into_another, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces cannot be made here")
    assert asked_elsewhere(lock, *into_another) == "False"


def test_a_full_table_of_descriptors_makes_no_node_dead(other: NodeLock) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        assert other.is_held("of nobody")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_its_address_cannot_be_taken_by_those_who_know_only_its_name(lock: NodeLock, other: NodeLock) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as squatter:
        squatter.bind(b"\0jobd-" + name(lock).encode())
    assert other.is_held(name(lock))
    assert not other.is_held("another name")


def test_no_process_can_fill_the_lock(lock: NodeLock) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.connect(lock._held.getsockname())
        with pytest.raises(BrokenPipeError):
            stranger.send(b"x")
