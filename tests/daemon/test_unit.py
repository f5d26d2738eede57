"""The systemd unit: accepted, hardened, and fit for the installation it is made for."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from jobd.config import load
from jobd.daemon.unit import unit

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def write(folder: Path, text: str = "") -> Path:
    (folder / "jobd.toml").write_text(text)
    path = folder / "jobd.service"
    path.write_text(unit(load(str(folder / "jobd.toml"), {})))
    return path


@needs_systemd
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    path = write(tmp_path)
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_the_unit_is_hardened(tmp_path: Path) -> None:
    path = write(tmp_path, 'database = "sqlite:////var/lib/jobd/jobd.db"\nstate_dir = "/var/lib/jobd"')
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-200:]


def test_folders_outside_the_state_directory_stay_writable(tmp_path: Path) -> None:
    assert f"\nReadWritePaths={tmp_path}\n" in write(tmp_path).read_text()
    inside = 'database = "sqlite:////var/lib/jobd/jobd.db"\nstate_dir = "/var/lib/jobd"'
    assert "ReadWritePaths" not in write(tmp_path, inside).read_text()


def test_a_running_job_has_its_time_when_the_service_stops(tmp_path: Path) -> None:
    assert "\nTimeoutStopSec=630\n" in write(tmp_path, 'stop_timeout = "10m"').read_text()


def test_a_path_with_blanks_and_percent_signs_is_quoted(tmp_path: Path) -> None:
    folder = tmp_path / "a b%c"
    os.mkdir(folder)
    assert f'--config "{tmp_path}/a b%%c/jobd.toml" start' in write(folder).read_text()
