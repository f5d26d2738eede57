"""Operations: full disks, signals at bad moments, an unavailable or damaged database."""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.faults.helpers import FAST, claimed, ends, noted, notes, seen_running
from tests.installation import Installation, until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """Leave no room on a disk."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while file.write(bytes(4_096)) == 4_096:
            pass
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while file.write(b"-"):
            pass
    return ballast


def ran(installation: Installation, name: str, more: int) -> None:
    """Wait until a job has run so many times more."""
    count = len(notes(installation))
    until(
        lambda: len([line for line in notes(installation) if line.split()[1] == name]) >= count + more,
        f"runs of {name}",
    )


def check_whole(installation: Installation, name: str) -> None:
    """Nothing is missing in the history of a job, and nothing is there twice."""
    installation.fine("pause", name)
    until(lambda: installation.fine("show", name, "--json")["state"] == "paused", "the pause")
    runs = installation.fine("history", name, "--json", "-n", "100000")
    assert {run["outcome"] for run in runs} == {"succeeded"}
    assert [run["run"] for run in runs] == list(range(len(runs), 0, -1))
    done = Counter(tuple(line.split()[1:3]) for line in notes(installation) if line.startswith("ran"))
    assert set(done.values()) == {1}
    assert len(done) == len(runs)


# Full disks


@needs_root
def test_a_full_disk_under_the_database_is_reported_and_survived(
    make_installation: Callable[..., Installation], disk: Path
) -> None:
    installation = make_installation(servers.sqlite_url(disk))
    daemon = installation.foreground()
    installation.fine("add", "quick", "--every", "50ms")
    installation.ended("quick", 5)
    ballast = fill(disk)
    until(lambda: installation.status()["database"] != "ok", "the trouble to be noticed")
    trouble = installation.jobd("status")
    assert "full" in trouble.stdout
    refused = installation.jobd("add", "quick2", "--task", "quick", "--once")
    assert (refused.returncode, refused.stderr.count("\n")) == (4, 1), refused
    assert "full" in refused.stderr
    assert installation.jobd("list").returncode == 0
    ballast.unlink()
    until(lambda: installation.status()["database"] == "ok", "the recovery")
    ran(installation, "quick", 5)
    check_whole(installation, "quick")
    assert daemon.poll() is None
    assert len([line for line in installation.log().splitlines() if "full" in line]) < 4


@needs_root
def test_a_full_disk_under_the_log_stops_nothing_but_the_log(
    make_installation: Callable[..., Installation], disk: Path
) -> None:
    installation = make_installation()
    installation.configure(f'file = "{disk}/jobd.log"\nlevel = "debug"\n', more=FAST)
    daemon = installation.foreground()
    installation.fine("add", "gated", "--every", "100ms")
    noted(installation, "began")
    ballast = fill(disk)
    (installation.folder / "open").touch()
    noted(installation, "ended", 20)
    ballast.unlink()
    before = (disk / "jobd.log").stat().st_size
    until(lambda: (disk / "jobd.log").stat().st_size > before, "the log to go on")
    assert daemon.poll() is None


@needs_root
def test_a_full_disk_under_the_state_is_survived(make_installation: Callable[..., Installation], disk: Path) -> None:
    installation = make_installation(more=FAST + f'state_dir = "{disk}/state"\n')
    installation.state = disk / "state"
    daemon = installation.foreground()
    ballast = fill(disk)
    installation.fine("add", "quick", "--every", "20ms")
    ran(installation, "quick", 200)
    assert daemon.poll() is None
    daemon.terminate()
    assert ends(daemon) == 0
    ballast.unlink()
    installation.foreground()
    ran(installation, "quick", 5)
    check_whole(installation, "quick")


@needs_root
def test_a_start_on_a_full_disk_is_refused_in_one_line(
    make_installation: Callable[..., Installation], disk: Path
) -> None:
    installation = make_installation(more=FAST + f'state_dir = "{disk}/state"\n')
    installation.state = disk / "state"
    ballast = fill(disk)
    for _ in range(2):
        refused = installation.jobd("start", "--foreground")
        assert refused.returncode == 1, refused  # systemd tries again, as it would not after 78
        assert "No space left on device" in refused.stderr
        assert str(disk) in refused.stderr
        assert refused.stderr.count("\n") == 1
    ballast.unlink()
    installation.foreground()


# Signals


def test_a_storm_of_reloads_loses_nothing(installation: Installation) -> None:
    daemon = installation.foreground()
    installation.fine("add", "quick", "--every", "20ms")
    installation.ended("quick", 5)
    for _ in range(300):
        daemon.send_signal(signal.SIGHUP)
        time.sleep(0.002)
    ran(installation, "quick", 20)
    check_whole(installation, "quick")
    assert daemon.poll() is None


@pytest.mark.parametrize("seed", range(12))
def test_a_stop_during_the_start_ends_it_and_leaves_nothing(installation: Installation, seed: int) -> None:
    if seed % 2:
        installation.fine("add", "quick", "--once")
    with (installation.folder / "log").open("a") as log:
        process = subprocess.Popen(
            installation.command("start", "--foreground"), env=installation.environ, stdout=log, stderr=log, text=True
        )
    installation.processes.append(process)
    time.sleep(random.Random(seed).uniform(0.0, 0.5))
    process.terminate()
    assert process.wait(20) in (0, -signal.SIGTERM)  # before it has set up its signals it just ends
    assert "Traceback" not in installation.log()
    following = installation.foreground()
    if seed % 2:
        installation.ended("quick")
    following.terminate()
    assert ends(following) == 0
    assert not claimed(installation)


def test_a_start_during_a_stop_is_refused_and_a_later_one_works(installation: Installation) -> None:
    daemon = installation.foreground()
    installation.fine("add", "gated", "--once")
    seen_running(installation, "gated")
    daemon.terminate()
    until(lambda: installation.status()["state"] == "draining", "the drain")
    refused = installation.jobd("start")
    assert refused.returncode == 1
    assert "already running" in refused.stderr
    (installation.folder / "open").touch()
    assert ends(daemon) == 0
    installation.foreground()
    (run,) = installation.history("gated")
    assert run["outcome"] == "succeeded"


def test_signals_one_after_the_other_end_it_at_once_and_cleanly(installation: Installation) -> None:
    daemon = installation.foreground()
    installation.fine("add", "gated", "--once")
    seen_running(installation, "gated")
    for _ in range(5):
        daemon.send_signal(signal.SIGTERM)
        time.sleep(0.05)  # signals that wait together are one
    began = time.monotonic()
    assert ends(daemon) == 0
    assert time.monotonic() - began < 8
    assert not claimed(installation)


# Taking over


@pytest.mark.quiet
def test_after_a_kill_the_same_node_takes_its_runs_up_within_two_seconds(
    make_installation: Callable[..., Installation],
) -> None:
    installation = make_installation(more="")  # the lease is the one by default: it is not waited for
    daemon = installation.foreground()
    installation.fine("add", "gated", "--once")
    seen_running(installation, "gated")
    daemon.kill()
    ends(daemon)
    began = time.monotonic()
    installation.foreground()
    noted(installation, "began", 2)
    assert time.monotonic() - began < 2


# The database is away, or is not what it was


@pytest.mark.quiet
def test_status_is_right_with_the_daemon_dead_or_the_database_down(
    make_installation: Callable[..., Installation],
) -> None:
    with servers.running("mariadb") as server:
        installation = make_installation(server.new_database())
        daemon = installation.foreground()
        assert installation.jobd("status").returncode == 0
        server.kill()
        until(lambda: installation.status()["database"] != "ok", "the trouble to be noticed")
        began = time.monotonic()
        answer = installation.jobd("status")
        assert time.monotonic() - began < 2
        assert "cannot" in answer.stdout or "refused" in answer.stdout, answer
        daemon.kill()
        ends(daemon)
        began = time.monotonic()
        answer = installation.jobd("status")
        assert time.monotonic() - began < 2
        assert (answer.returncode, answer.stderr) == (3, "jobd: error: jobd is not running\n")


def test_a_database_that_is_away_keeps_the_log_short_and_the_daemon_calm(
    make_installation: Callable[..., Installation],
) -> None:
    with servers.running("postgresql") as server:
        installation = make_installation(server.new_database())
        daemon = installation.foreground()
        installation.fine("add", "quick", "--every", "100ms")
        installation.ended("quick", 3)
        server.kill()
        time.sleep(8)
        said = [line for line in installation.log().splitlines() if "database" in line]
        assert 1 <= len(said) < 6, said
        server.start()
        ran(installation, "quick", 5)
        check_whole(installation, "quick")
        assert daemon.poll() is None


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_rights_that_are_taken_away_and_given_back(make_installation: Callable[..., Installation], kind: str) -> None:
    with servers.running(kind) as server:
        url = server.new_database()
        name = url.rpartition("/")[2]
        if kind == "mariadb":
            server.sql(f"CREATE USER jobd@'127.0.0.1'; GRANT ALL ON {name}.* TO jobd@'127.0.0.1'")
            kick = "KILL USER jobd"  # rights count from the next connection
            take, give = (
                f"REVOKE UPDATE ON {name}.* FROM jobd@'127.0.0.1'",
                f"GRANT UPDATE ON {name}.* TO jobd@'127.0.0.1'",
            )
        else:
            kick = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'jobd'"
            server.sql("CREATE USER jobd")
            server.sql(f"GRANT ALL ON DATABASE {name} TO jobd")
            server.sql(f"ALTER DATABASE {name} OWNER TO jobd")
            take = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
            give = f"ALTER DATABASE {name} SET default_transaction_read_only = off"
        installation = make_installation(url.replace("root@", "jobd@").replace("postgres@", "jobd@"))
        daemon = installation.foreground()
        installation.fine("add", "quick", "--every", "100ms")
        installation.ended("quick", 3)
        server.sql(take)
        server.sql(kick)
        until(lambda: installation.status()["database"] != "ok", "the trouble to be noticed")
        refused = installation.jobd("set", "quick", "--retry", "1")
        assert (refused.returncode, refused.stderr.count("\n")) == (4, 1), refused
        server.sql(give)
        server.sql(kick)
        until(lambda: installation.status()["database"] == "ok", "the recovery")
        ran(installation, "quick", 5)
        check_whole(installation, "quick")
        assert daemon.poll() is None


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_too_many_connections_are_waited_out(make_installation: Callable[..., Installation], kind: str) -> None:
    with servers.running(kind) as server:
        installation = make_installation(server.new_database())
        if kind == "mariadb":
            server.sql("SET GLOBAL max_connections = 10; CREATE USER other@'127.0.0.1'")
        else:
            server.sql("ALTER DATABASE postgres CONNECTION LIMIT 40")
        daemon = installation.foreground()
        installation.fine("add", "quick", "--every", "100ms")
        installation.ended("quick", 3)
        with contextlib.ExitStack() as crowd:
            _crowd(server, kind, crowd)
            refused = installation.jobd("add", "quick2", "--task", "quick", "--once")
            assert (refused.returncode, refused.stderr.count("\n")) == (4, 1), refused
        ran(installation, "quick", 5)
        assert daemon.poll() is None
        check_whole(installation, "quick")


def _crowd(server: servers.Server, kind: str, crowd: contextlib.ExitStack) -> None:
    """Take all connections that are left."""
    import psycopg
    import pymysql

    with contextlib.suppress(pymysql.Error, psycopg.Error):
        while True:
            if kind == "mariadb":
                crowd.callback(pymysql.connect(host="127.0.0.1", port=server.port, user="root").close)
            else:
                url = f"postgresql://postgres@127.0.0.1:{server.port}/postgres"
                crowd.callback(psycopg.connect(url).close)


def test_a_locked_table_is_waited_out(make_installation: Callable[..., Installation]) -> None:
    with servers.running("mariadb") as server:
        url = server.new_database()
        installation = make_installation(url)
        daemon = installation.foreground()
        installation.fine("add", "quick", "--every", "100ms")
        installation.ended("quick", 3)
        import pymysql

        with pymysql.connect(host="127.0.0.1", port=server.port, user="root") as other:
            name = url.rpartition("/")[2]
            other.cursor().execute(f"LOCK TABLES {name}.job WRITE, {name}.schedule WRITE")
            until(lambda: installation.status()["database"] != "ok", "the trouble to be noticed")
        until(lambda: installation.status()["database"] == "ok", "the recovery")
        ran(installation, "quick", 5)
        assert daemon.poll() is None
        check_whole(installation, "quick")


@pytest.mark.parametrize("what", ["replaced", "removed", "header", "page"])
def test_a_damaged_database_is_neither_used_nor_recreated(installation: Installation, what: str) -> None:
    path = installation.folder / "jobd.db"
    daemon = installation.foreground()
    installation.fine("add", "quick", "--every", "100ms")
    installation.ended("quick", 3)
    daemon.terminate()
    ends(daemon)
    whole = path.read_bytes()
    match what:
        case "replaced":
            path.write_text("this is no database, but somebody's diary, and worth keeping\n" * 100)
        case "removed":
            path.unlink()
        case "header":
            path.write_bytes(b"\0" * 100 + whole[100:])
        case "page":
            path.write_bytes(whole[:4_096] + b"\xff" * 4_096 * 3 + whole[4_096 * 4 :])
    if what == "removed":
        installation.foreground()  # as on the first day
        assert installation.fine("list", "--json") == []
        return
    left = path.read_bytes()
    refused = installation.jobd("start", "--foreground")
    assert refused.returncode in (1, 4, 78), refused
    assert refused.stderr.count("\n") <= 2, refused
    assert "Traceback" not in refused.stderr + installation.log()
    listed = installation.jobd("list")
    assert listed.returncode != 0
    assert "bug in jobd" not in refused.stderr + listed.stderr
    assert path.read_bytes()[: len(left)] == left


@pytest.mark.parametrize("what", ["unlinked", "renamed", "other"])
def test_a_database_file_that_is_swapped_under_the_daemon_is_noticed(
    installation: Installation, what: str, tmp_path: Path
) -> None:
    path = installation.folder / "jobd.db"
    daemon = installation.foreground()
    installation.fine("add", "quick", "--every", "100ms")
    installation.ended("quick", 3)
    if what == "other":
        with sqlite3.connect(tmp_path / "other.db") as other:
            other.execute("CREATE TABLE job (id)")
    for name in (path, path.with_name("jobd.db-wal"), path.with_name("jobd.db-shm")):
        if what == "unlinked":
            name.unlink()
        else:
            name.rename(name.with_name(f"old-{name.name}"))
    if what == "other":
        (tmp_path / "other.db").rename(path)
    until(lambda: installation.status()["database"] != "ok", "the loss to be noticed")
    if what == "renamed":
        for name in installation.folder.glob("old-*"):
            name.rename(name.with_name(name.name.removeprefix("old-")))
        until(lambda: installation.status()["database"] == "ok", "the recovery")
        ran(installation, "quick", 3)
        check_whole(installation, "quick")
    assert daemon.poll() is None
    assert "Traceback" not in installation.log()


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_a_table_that_is_dropped_under_the_daemon_is_not_recreated(
    make_installation: Callable[..., Installation], kind: str
) -> None:
    with servers.running(kind) as server:
        url = server.new_database()
        installation = make_installation(url)
        daemon = installation.foreground()
        installation.fine("add", "quick", "--every", "100ms")
        installation.ended("quick", 3)
        _drop(server, kind, url.rpartition("/")[2], "run")
        until(lambda: installation.status()["database"] != "ok", "the loss to be noticed")
        daemon.terminate()
        ends(daemon)
        assert "Traceback" not in installation.log()
        for refused in (installation.jobd("history", "quick"), installation.jobd("start", "--foreground")):
            assert refused.returncode == 78, refused
            assert "are not those that jobd made" in refused.stderr
            assert "Traceback" not in refused.stderr


def _drop(server: servers.Server, kind: str, database: str, table: str) -> None:
    if kind == "mariadb":
        server.sql(f"SET FOREIGN_KEY_CHECKS = 0; DROP TABLE {database}.{table}")
    else:
        subprocess.run(
            [
                *("psql", "-X", "-h", str(server.folder), "-p", str(server.port), "-U", "postgres", "-d", database),
                *("-c", f'DROP TABLE "{table}" CASCADE'),
            ],
            check=True,
            capture_output=True,
        )


# Scarce resources, odd surroundings


def test_too_few_descriptors_are_reported_and_the_daemon_goes_on(
    make_installation: Callable[..., Installation],
) -> None:
    installation = make_installation(workers=8)
    command = ["prlimit", "--nofile=24", *installation.command("start", "--foreground")]
    with (installation.folder / "log").open("a") as log:
        process = subprocess.Popen(command, env=installation.environ, stdout=log, stderr=log, text=True)
    installation.processes.append(process)
    installation.fine("add", "quick", "--every", "100ms")
    until(lambda: "Too many open files" in installation.log() or process.poll() is not None, "the trouble to be told")
    installation.ended("quick", 3)
    assert process.poll() is None
    assert "Traceback" not in installation.log()


def test_a_daemon_that_finds_nothing_around_it_works(installation: Installation) -> None:
    installation.environ = {"PYTHONPATH": installation.environ["PYTHONPATH"], "PATH": ""}
    installation.foreground()
    installation.fine("add", "quick", "--once")
    installation.ended("quick")


def test_as_the_first_process_of_a_container_it_reaps_and_stops(installation: Installation) -> None:
    command = [
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        *installation.command("start", "--foreground"),
    ]
    if os.geteuid() != 0:
        pytest.skip("only root can make a namespace of processes")
    with (installation.folder / "log").open("a") as log:
        process = subprocess.Popen(command, env=installation.environ, stdout=log, stderr=log, text=True)
    installation.processes.append(process)
    installation.fine("add", "quick", "--every", "100ms")
    installation.ended("quick", 3)
    inside = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    os.kill(inside, signal.SIGTERM)
    assert ends(process) == 0
    assert not claimed(installation)


def test_four_daemons_started_at_once_are_one(installation: Installation) -> None:
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(installation.jobd("start").returncode)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [0, 1, 1, 1]
    installation.fine("stop")
