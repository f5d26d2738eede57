"""The daemon as a real process: start, status, signals, reload and stop."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import time
from functools import partial

import pytest

from jobd.daemon.control import ask
from jobd.daemon.pidfile import holder
from tests.installation import PLUGIN, Installation, until


def test_a_job_whose_task_is_unknown_is_offered_again_and_logged_once(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "nothing", "--task", "not-there", "--once", "--force")

    def offered() -> tuple[int, int]:
        """The number of the last claim, and the node that holds the job."""
        with sqlite3.connect(installation.folder / "jobd.db") as database:
            token, node = database.execute("SELECT token, node_id FROM schedule").fetchone()
            return token, node

    def claimed_after(before: int) -> bool:
        return offered()[0] > before

    until(lambda: "nothing cannot run" in installation.log(), "the line")
    for _ in range(2):
        # A worker with the new plugins answers for a job that is claimed during the reload: no other claim follows.
        until(lambda: offered()[1] == 0, "the job being given back")
        before = offered()[0]
        installation.fine("reload")
        until(partial(claimed_after, before), "another claim")
    installation.fine("stop")
    assert installation.log().count("cannot run") == 1


def test_start_returns_when_the_daemon_is_up_and_stop_when_it_has_ended(installation: Installation) -> None:
    started = installation.jobd("start")
    assert started.returncode == 0, started.stderr
    status = json.loads(installation.jobd("status", "--json").stdout)
    assert (status["state"], status["database"]) == ("running", "ok")
    assert {"state", "pid", "node", "since", "workers", "running", "queued", "database"} <= set(status)
    assert f"pid {status['pid']}" in started.stdout
    assert installation.jobd("status").returncode == 0
    assert os.getsid(status["pid"]) != os.getsid(0)
    stopped = installation.jobd("stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert holder(str(installation.state)) is None


def test_status_and_stop_exit_with_3_when_no_daemon_runs(installation: Installation) -> None:
    for words in (["status"], ["stop"], ["reload"]):
        answer = installation.jobd(*words)
        assert (answer.returncode, answer.stderr) == (3, "jobd: error: jobd is not running\n")
    answer = installation.jobd("status", "--json")
    assert (answer.returncode, json.loads(answer.stdout)) == (3, {"state": "stopped"})


def test_a_second_daemon_is_refused_with_the_pid_of_the_first(installation: Installation) -> None:
    process = installation.foreground()
    for words in (["start"], ["start", "-f"]):
        refused = installation.jobd(*words)
        assert refused.returncode == 1
        assert f"already running in {installation.state} (pid {process.pid})" in refused.stderr


def test_after_a_kill_the_next_start_works(installation: Installation) -> None:
    process = installation.foreground()
    process.kill()
    process.wait()
    assert installation.jobd("status").returncode == 3
    installation.foreground()


@pytest.mark.parametrize(
    ("config", "code", "reason"),
    [
        ('[pool.x]\nworkers = "many"', 78, "pool.x.workers"),
        ("", 4, "no-such-folder"),
    ],
)
def test_why_a_start_failed_reaches_the_terminal(
    installation: Installation, config: str, code: int, reason: str
) -> None:
    installation.configure(config)
    if code == 4:
        installation.environ["JOBD_DATABASE"] = f"sqlite:///{installation.folder}/no-such-folder/jobd.db"
    foreground, detached = installation.jobd("start", "-f"), installation.jobd("start")
    assert (foreground.returncode, detached.returncode) == (code, code)
    for answer in (foreground, detached):
        assert reason in answer.stderr
        assert "Traceback" not in answer.stderr
    assert installation.jobd("status", "--json").returncode in (3, 78)


def test_a_missing_plugins_folder_is_named(installation: Installation) -> None:
    (installation.folder / "jobd.toml").write_text('plugins = "elsewhere"')
    answer = installation.jobd("start", "-f")
    assert answer.returncode == 78
    assert f"{installation.folder}/elsewhere" in answer.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root refuses it")
def test_root_refuses_plugins_that_other_users_can_write(installation: Installation) -> None:
    os.chmod(installation.folder / "plugins", 0o777)
    answer = installation.jobd("start", "-f")
    assert answer.returncode == 78
    assert "world-writable" in answer.stderr


def test_the_daemons_files_are_private_to_its_user(installation: Installation) -> None:
    installation.state.mkdir(mode=0o755)
    assert installation.jobd("start").returncode == 0
    assert stat.S_IMODE(installation.state.stat().st_mode) == 0o700
    for path in (installation.state / "jobd.log", installation.state / "jobd.pid", installation.folder / "jobd.db"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert installation.jobd("stop").returncode == 0


def test_status_shows_local_times(installation: Installation) -> None:
    installation.environ["TZ"] = "Asia/Kolkata"
    installation.foreground()
    assert re.search(r", since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+05:30\n", installation.fine("status"))


def test_a_removed_socket_is_created_again(installation: Installation) -> None:
    installation.configure("", more='poll = "100ms"\nlease = "5s"\n')
    process = installation.foreground()
    (installation.state / "jobd.sock").unlink()
    answer = installation.jobd("status")
    assert answer.returncode == 0 or "has no socket" in answer.stderr
    until(lambda: installation.status().get("pid") == process.pid, "a new socket")


@pytest.mark.parametrize("command", ["reload", "status"])
def test_status_reports_a_daemon_that_is_suspended(installation: Installation, command: str) -> None:
    process = installation.foreground()
    process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    answer = installation.jobd(command)
    assert time.monotonic() - began < 20
    assert answer.returncode == 1
    hint = f"`kill -CONT {process.pid}` resumes it"
    assert answer.stderr == f"jobd: error: jobd (pid {process.pid}) has been stopped by a signal; {hint}\n"


def test_sigterm_ends_it_with_0(installation: Installation) -> None:
    process = installation.foreground()
    process.terminate()
    assert process.wait(20) == 0
    assert not (installation.state / "jobd.sock").exists()


def test_a_signal_after_a_command_to_stop_lets_runs_finish(installation: Installation) -> None:
    """systemd sends one, and `jobd stop` if the answer is late. Only a second signal ends the runs."""
    process = installation.foreground()
    loop = f"touch {installation.folder}/begun; while [ ! -e {installation.folder}/go ]; do sleep 0.05; done"
    installation.fine("add", "long", "--once", "--", "sh", "-c", loop)
    until((installation.folder / "begun").exists, "its begin")
    assert ask(str(installation.state), {"do": "stop"}, 20)
    process.send_signal(signal.SIGTERM)
    ask(str(installation.state), {"do": "status"}, 20)  # the signal has been handled before this answer
    (installation.folder / "go").touch()
    assert process.wait(20) == 0
    assert "succeeded" in installation.fine("history", "long")


def test_ctrl_c_ends_it_with_0(installation: Installation) -> None:
    process = installation.foreground()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def test_an_idle_daemon_logs_little(installation: Installation) -> None:
    process = installation.foreground()
    process.terminate()
    process.wait(20)
    messages = [json.loads(line)["msg"] for line in installation.log().splitlines()]
    assert len(messages) == 3
    assert "is up" in messages[0]


def test_a_reload_puts_new_settings_into_effect(installation: Installation) -> None:
    installation.foreground()
    installation.configure("context = true")
    answer = installation.jobd("reload")
    assert (answer.returncode, answer.stdout) == (0, "reloaded\n")
    assert "reloaded" in installation.log()


def test_a_reload_of_a_bad_configuration_is_refused_in_one_line(installation: Installation) -> None:
    process = installation.foreground()
    installation.configure("colour = 1\nsize = 2")
    answer = installation.jobd("reload")
    assert answer.returncode == 78  # the command reads the file itself
    process.send_signal(signal.SIGHUP)
    until(lambda: "refused" in installation.log())
    assert len([line for line in installation.log().splitlines() if "colour" in line]) == 1
    assert installation.status()["state"] == "running"


def test_a_plugin_that_no_longer_loads_is_refused_and_the_old_goes_on(installation: Installation) -> None:
    installation.foreground()
    assert installation.jobd("reload").returncode == 0
    (installation.folder / "plugins" / "tasks.py").write_text("import no_such_module\n")
    for _ in range(2):
        answer = installation.jobd("reload")
        assert (answer.returncode, answer.stdout) == (1, "")
        assert "plugins/tasks.py does not load any more: ModuleNotFoundError" in answer.stderr
    (installation.folder / "plugins" / "tasks.py").write_text("import jobd\n@jobd.task\ndef hello():\n    yield\n")
    assert "hello of plugins/tasks.py:2 does not load any more: it is a generator" in installation.jobd("reload").stderr


@pytest.mark.parametrize("text", ["import no_such_module\n", "import jobd\n@jobd.task\ndef fresh():\n    yield\n"])
def test_a_plugin_that_never_loaded_is_named_each_time_and_the_rest_takes_effect(
    installation: Installation, text: str
) -> None:
    (installation.folder / "plugins" / "old.py").write_text("import no_such_module_1\n")
    installation.foreground()
    until(lambda: "no_such_module_1" in installation.log(), "the word about the plugin that does not load")
    (installation.folder / "plugins" / "fresh.py").write_text(text)
    installation.fine("tasks")  # to look changes nothing
    for _ in range(2):
        answer = installation.jobd("reload")
        assert (answer.returncode, answer.stdout) == (1, "reloaded\n")
        named = [line.partition(": ")[2] for line in answer.stderr.splitlines()]
        assert [line.partition(" does not load: ")[0].partition(":2")[0] for line in named] == [
            f"warning: {'the task fresh of ' if 'yield' in text else ''}plugins/fresh.py",
            "warning: plugins/old.py",
        ]
    for name in ("old", "fresh"):
        (installation.folder / "plugins" / f"{name}.py").unlink()
    answer = installation.jobd("reload")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "reloaded\n", "")


def test_a_new_task_that_takes_the_name_of_one_that_ran_is_refused(installation: Installation) -> None:
    installation.foreground()
    installation.fine("reload")
    (installation.folder / "plugins" / "other.py").write_text(PLUGIN)
    answer = installation.jobd("reload")
    assert answer.returncode == 1
    assert "the task hello of plugins/tasks.py:3 does not load any more: the name is taken twice" in answer.stderr


def test_a_reload_cannot_move_the_database(installation: Installation) -> None:
    installation.foreground()
    text = (installation.folder / "jobd.toml").read_text().replace("jobd.db", "other.db")
    (installation.folder / "jobd.toml").write_text(text)
    answer = installation.jobd("reload")
    assert answer.returncode == 1
    assert "cannot change database" in answer.stderr


def test_sigusr1_puts_the_status_into_the_log(installation: Installation) -> None:
    process = installation.foreground()
    process.send_signal(signal.SIGUSR1)
    line = until(lambda: next((line for line in installation.log().splitlines() if "status: " in line), None))
    assert json.loads(json.loads(line)["msg"].removeprefix("status: "))["pid"] == process.pid


def test_changed_is_answered_when_the_change_is_in_effect(installation: Installation) -> None:
    installation.foreground()
    assert ask(str(installation.state), {"do": "changed"}, 5) == {"database": "ok"}
    assert "error" in (ask(str(installation.state), {"do": "dance"}, 5) or {})


def test_restart_makes_a_new_process_of_the_same_instance(installation: Installation) -> None:
    assert installation.jobd("start").returncode == 0
    first, instance = installation.status(), (installation.state / "instance").read_text()
    assert installation.jobd("restart").returncode == 0
    assert installation.status()["pid"] != first["pid"]
    assert (installation.state / "instance").read_text() == instance
    assert installation.jobd("stop").returncode == 0
    with sqlite3.connect(installation.folder / "jobd.db") as database:
        (instances,) = database.execute("SELECT count(DISTINCT instance) FROM node").fetchone()
    assert instances == 1


def test_stop_now_ends_a_daemon_that_hangs(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobd.cli import daemon
    from jobd.cli.context import Context

    process = installation.foreground()
    process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(daemon, "KILL_TIMEOUT", 1.0)
    monkeypatch.setattr(daemon, "ANSWER_TIMEOUT", 0.2)
    assert daemon._stop(Context(str(installation.folder / "jobd.toml")), True, None)
    assert process.wait(5) == -signal.SIGKILL


def test_the_daemon_notifies_systemd_that_it_is_ready_alive_reloading_and_stopping(installation: Installation) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(installation.folder / "notify"))
        manager.settimeout(20)
        installation.environ |= {"NOTIFY_SOCKET": str(installation.folder / "notify"), "WATCHDOG_USEC": "300000"}
        process = installation.foreground()
        assert manager.recv(1000).startswith(b"READY=1")
        for _ in range(3):
            assert manager.recv(1000) == b"WATCHDOG=1"

        def heard(start: bytes) -> bytes:
            while not (message := manager.recv(1000)).startswith(start):
                pass
            return message

        process.send_signal(signal.SIGHUP)
        assert b"MONOTONIC_USEC=" in heard(b"RELOADING=1")
        assert heard(b"READY=1") == b"READY=1"
        assert installation.jobd("restart").returncode == 1, "systemd's daemon is systemd's to restart"
        manager.setblocking(False)
        with contextlib.suppress(BlockingIOError):  # what the watchdog was told meanwhile: it fills the queue
            while True:
                manager.recv(1000)
        manager.settimeout(20)
        stopped = subprocess.Popen(installation.command("stop", "--timeout", "10m"), env=installation.environ)
        seconds = int(heard(b"STOPPING=1").partition(b"EXTEND_TIMEOUT_USEC=")[2].split()[0]) / 1_000_000
        assert seconds >= 600, "systemd would kill it before"
        assert stopped.wait(20) == process.wait(20) == 0


def test_closed_standard_streams_do_no_harm(installation: Installation) -> None:
    words = " ".join(f"'{word}'" for word in installation.command("start"))
    done = subprocess.run(["/bin/sh", "-c", f"{words} <&- >&- 2>&-"], env=installation.environ, timeout=60, check=False)
    assert done.returncode == 0
    assert installation.status()["state"] == "running"
    assert installation.jobd("stop").returncode == 0


def test_init_start_stop_work_in_an_empty_folder(installation: Installation) -> None:
    fresh = installation.folder / "fresh"
    written = installation.jobd("init", str(fresh))
    assert written.returncode == 0, written.stderr
    again = installation.jobd("init", str(fresh))
    assert again.returncode == 1
    assert "is there already" in again.stderr
    installation.folder, installation.state = fresh, fresh / "state"
    started = installation.jobd("start")
    assert started.returncode == 0, started.stderr
    assert installation.jobd("stop").returncode == 0
