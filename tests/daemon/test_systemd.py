"""The notifications for systemd."""

import os
import socket
from pathlib import Path

from jobd.daemon.systemd import notify, watchdog_interval


def test_the_lines_arrive_at_the_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        assert notify("READY=1", "STATUS=up", environ={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == b"READY=1\nSTATUS=up"


def test_an_abstract_address_works() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0jobd-test-{os.getpid()}")
        assert notify("READY=1", environ={"NOTIFY_SOCKET": f"@jobd-test-{os.getpid()}"})


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    assert not notify("READY=1", environ={})
    assert not notify("READY=1", environ={"NOTIFY_SOCKET": str(tmp_path / "none")})
    assert not notify("READY=1", environ={"NOTIFY_SOCKET": "vsock:2:1234"})


def test_the_watchdog_is_fed_well_before_it_bites() -> None:
    assert watchdog_interval({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}) == 10
    assert watchdog_interval({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}) is None
    assert watchdog_interval({}) is None
