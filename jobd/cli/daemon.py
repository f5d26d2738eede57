"""The daemon: `init`, `start`, `stop`, `restart`, `reload`, `status`, `systemd`."""

import os
import signal
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from jobd.cli import print_done, print_remark
from jobd.cli.context import ANSWER_TIMEOUT, Context
from jobd.cli.options import Duration, json_option
from jobd.cli.terminal import print_json
from jobd.clock import SECOND, from_datetime
from jobd.errors import JobdError, NotRunning
from jobd.printable import escape
from jobd.view.text import moment

if TYPE_CHECKING:
    from jobd.daemon.pidfile import Process

RELOAD_TIMEOUT = 120.0  # seconds; the daemon loads every plugin meanwhile
KILL_TIMEOUT = 15.0  # seconds from an abort to SIGKILL, and from that to the error that the daemon cannot be ended

_timeout = click.option(
    "--timeout",
    type=Duration(),
    metavar="D",
    help="How long runs in progress may continue before they are ended; default: stop_timeout in jobd.toml.",
)
_now = click.option("--now", is_flag=True, help="End the runs in progress at once.")


@click.command()
@click.argument("folder", metavar="[DIR]", default=".")
def init(folder: str) -> None:
    """Write a commented jobd.toml, and a plugins folder with an example, into DIR (default: the current folder).

    \b
      jobd init && jobd start && jobd add hello --every 10s
    """
    from jobd.template import PLUGIN, PLUGIN_FILE, config_for

    folder = os.path.abspath(folder)
    config, plugins = os.path.join(folder, "jobd.toml"), os.path.join(folder, "plugins")
    if os.path.lexists(config):
        raise JobdError(f"{config} is there already", "edit it, or remove it first")
    new = not os.path.exists(plugins)
    _write({config: config_for(folder)} | ({os.path.join(plugins, PLUGIN_FILE): PLUGIN} if new else {}))
    click.echo(f"wrote {escape(config)} and {escape(plugins)}")
    click.echo("next: jobd start, then jobd add hello --every 10s" if new else "next: jobd start")


@click.command()
@click.option(
    "-f",
    "--foreground",
    is_flag=True,
    help="Stay in the foreground and log to standard output, as a systemd service does.",
)
@click.pass_obj
def start(context: Context, foreground: bool) -> None:
    """Start the daemon and return when it is up.

    \b
      jobd start
      jobd start --foreground
    """
    if foreground:
        from jobd.daemon.service import run_foreground

        run_foreground(context.settings)
    else:
        _start(context)


@click.command()
@_now
@_timeout
@click.pass_obj
def stop(context: Context, now: bool, timeout: int | None) -> None:
    """Stop the daemon. No new run starts; runs in progress may finish within `stop_timeout`.

    \b
      jobd stop
      jobd stop --now
    """
    if not _stop(context, now, timeout):
        raise NotRunning("jobd is not running")
    click.echo("jobd has stopped")


@click.command()
@_now
@_timeout
@click.pass_obj
def restart(context: Context, now: bool, timeout: int | None) -> None:
    """Stop the daemon, if it runs, and start it again.

    \b
      jobd restart
    """
    status = _ask(context, {"do": "status"}, ANSWER_TIMEOUT)
    if status is not None and status.get("systemd"):
        raise JobdError("systemd runs this daemon", "use `systemctl restart jobd`")
    context.settings  # noqa: B018 - read first, so that an unreadable configuration does not stop the daemon
    _stop(context, now, timeout)
    _start(context)


@click.command()
@click.pass_obj
def reload(context: Context) -> int:
    """Load changed plugins and configuration. Runs in progress continue.

    The reload is refused if jobd.toml is invalid, or if a plugin or task that loaded before fails to load now. One that
    has never loaded is named in a warning, the rest takes effect, and the exit code is 1.

    \b
      jobd reload
    """
    answer = _ask(context, {"do": "status"}, ANSWER_TIMEOUT) and _ask(context, {"do": "reload"}, RELOAD_TIMEOUT)
    if answer is None:
        raise _silent(context)
    if "error" in answer:
        raise JobdError.of_lines(answer["error"].split("\n"), answer.get("hint", ""))
    click.echo("reloaded")
    for line in answer["broken"]:
        print_remark(f"warning: {line}")
    return 1 if answer["broken"] else 0


@click.command()
@json_option
@click.pass_obj
def status(context: Context, as_json: bool) -> int:
    """Show whether the daemon runs, and what it is doing. Exit code 3: it is not running.

    \b
      jobd status
      jobd status --json
    """
    answer = _ask(context, {"do": "status"}, ANSWER_TIMEOUT)
    if answer is None:
        error = _silent(context)
        if as_json and isinstance(error, NotRunning):
            print_json({"state": "stopped"})
            return error.exit_code
        raise error
    if as_json:
        print_json(answer)
    else:
        _print_status(answer)
    return 0


@click.command()
@click.pass_obj
def systemd(context: Context) -> None:
    """Print a hardened systemd unit that runs the daemon with this configuration and this Python.

    \b
      jobd systemd > /etc/systemd/system/jobd.service
      useradd --system jobd; systemctl enable --now jobd
    """
    from jobd.daemon.unit import unit

    click.echo(unit(context.settings), nl=False)


def _start(context: Context) -> None:
    from jobd.daemon.service import start_detached

    print_done(f"jobd is running (pid {start_detached(context.settings)})")


def _stop(context: Context, now: bool, timeout: int | None) -> bool:
    """Stop the daemon and wait for its end. False: no daemon was running."""
    from jobd.daemon.control import AFTER_DRAIN
    from jobd.daemon.pidfile import find

    process = find(context.settings.state_dir)
    if process is None:
        return False
    try:
        wait = _ask_to_stop(context, process, now, timeout)
        while not process.wait(wait):
            answer = None if now else _ask(context, {"do": "stop"}, ANSWER_TIMEOUT)
            if not answer or not answer.get("timeout"):
                break
            wait = (answer["timeout"] + AFTER_DRAIN) / SECOND  # another command has given it more time
        else:
            return True
        if not now:
            _ask(context, {"do": "stop", "now": True}, ANSWER_TIMEOUT)
            if process.wait(KILL_TIMEOUT):
                return True
        process.send(signal.SIGKILL)
        if process.wait(KILL_TIMEOUT):
            return True
        raise JobdError(f"process {process.pid} cannot be ended")
    finally:
        process.close()


def _ask_to_stop(context: Context, process: "Process", now: bool, timeout: int | None) -> float:
    """Tell the daemon to stop; return the seconds that this may take."""
    from jobd.daemon.control import AFTER_DRAIN

    answer = _ask(context, {"do": "stop", "now": now, "timeout": timeout}, ANSWER_TIMEOUT)
    drain = context.settings.stop_timeout
    if answer is None:
        process.send(signal.SIGTERM)
        if timeout is not None and timeout > drain:
            print_remark("warning: the daemon does not answer, so it ends its runs after the stop_timeout of jobd.toml")
    if now:
        return KILL_TIMEOUT if timeout is None else timeout / SECOND
    if answer is None and timeout is not None:
        return min(timeout, drain + AFTER_DRAIN) / SECOND
    return (int((answer or {}).get("timeout", drain)) + AFTER_DRAIN) / SECOND


def _ask(context: Context, request: dict[str, Any], timeout: float) -> dict[str, Any] | None:
    from jobd.daemon.control import ask

    return ask(context.settings.state_dir, request, timeout)


def _silent(context: Context) -> JobdError:
    """The error for a daemon that has not answered, with the likely reason."""
    from jobd.daemon.pidfile import holder, is_stopped
    from jobd.settings import SOCKET_FILE

    pid = holder(context.settings.state_dir)
    if pid is None:
        return NotRunning("jobd is not running")
    if is_stopped(pid):
        return JobdError(f"jobd (pid {pid}) has been stopped by a signal", f"`kill -CONT {pid}` resumes it")
    path = os.path.join(context.settings.state_dir, SOCKET_FILE)
    if not os.path.exists(path):
        return JobdError(
            f"jobd is running (pid {pid}) but has no socket {path}",
            "it is starting or stopping; if the socket was removed, jobd creates it again within a lease",
        )
    return JobdError(f"jobd is running (pid {pid}) but does not answer", "see its log")


def _print_status(answer: dict[str, Any]) -> None:
    runs = answer["runs"]
    lines = [
        ("jobd", f"{answer['state']}, pid {answer['pid']}, node {answer['node']}, since {_local(answer['since'])}"),
        ("database", answer["database"]),
        ("workers", f"{answer['workers']}, {answer['running']} of them busy, {answer['queued']} runs queued"),
        *(("running", f"{run['job']} #{run['run']} since {_local(run['since'])}") for run in runs),
    ]
    if answer["log_failures"]:
        lines.append(("log", f"{answer['log_failures']} lines could not be written"))
    for name, text in lines:
        click.echo(f"{name:<10}{escape(str(text))}")


def _local(time: str) -> str:
    """A time from the daemon's answer, for display."""
    return moment(from_datetime(datetime.fromisoformat(time)))


def _write(files: dict[str, str]) -> None:
    """Write new files and their folders: all of them or none."""
    made = []
    try:
        for path, text in files.items():
            folder = os.path.dirname(path)
            if not os.path.isdir(folder):
                os.makedirs(folder)
                made.append(folder)
            with open(path, "x", encoding="utf-8") as file:
                made.append(path)
                file.write(text)
    except OSError as error:
        for one in reversed(made):
            (os.rmdir if os.path.isdir(one) else os.unlink)(one)
        raise JobdError(f"cannot write {path}: {error.strerror}") from None
