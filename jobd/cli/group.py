"""The `jobd` command and its sub-commands, each loaded only when it is used: `jobd --help` imports none of them."""

import gc
import os
from importlib import import_module

import click
from click.shell_completion import CompletionItem, shell_complete

from jobd import __version__
from jobd.cli.context import Context
from jobd.errors import BadValue, JobdError

COMMANDS = {
    "init": ("daemon:init", "Write a configuration and a plugins folder to start from."),
    "start": ("daemon:start", "Start the daemon."),
    "stop": ("daemon:stop", "Stop the daemon."),
    "restart": ("daemon:restart", "Stop the daemon and start it again."),
    "reload": ("daemon:reload", "Load changed plugins and configuration."),
    "status": ("daemon:status", "Show whether the daemon runs, and what it is doing."),
    "systemd": ("daemon:systemd", "Print a systemd unit for this installation."),
    "add": ("jobs:add", "Add a job."),
    "set": ("jobs:set_", "Change a job."),
    "rename": ("rename:rename", "Rename a job."),
    "rm": ("job_states:rm", "Delete jobs; they can be restored."),
    "restore": ("job_states:restore", "Restore deleted jobs."),
    "pause": ("job_states:pause", "Pause jobs until they are resumed."),
    "resume": ("job_states:resume", "Resume paused jobs."),
    "list": ("inspect:list_", "List the jobs."),
    "ls": ("inspect:list_", "Alias of list."),
    "show": ("inspect:show", "Show one job in full."),
    "next": ("inspect:next_", "Show the next due times."),
    "tasks": ("inspect:tasks", "List the tasks that the plugins offer."),
    "run": ("runs:run", "Run a job now."),
    "cancel": ("runs:cancel", "Cancel the run in progress."),
    "history": ("runs:history", "Show past runs."),
    "logs": ("runs:logs", "Show what a run printed."),
    "apply": ("apply:apply", "Make the jobs match a file."),
    "export": ("apply:export", "Write the jobs to a file."),
    "completion": ("completion:completion", "Print a shell completion script."),
}
MAX_MESSAGE = 500  # characters of click's messages, which may quote long arguments
MISSPELT = (click.exceptions.NoSuchOption, click.exceptions.NoSuchCommand)


class LazyGroup(click.Group):
    """A group with a table of its commands' names, which imports the file of a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if name != "ls"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(f"jobd.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        items = [
            CompletionItem(name, help=COMMANDS[name][1])
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return items + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`jobd COMMAND --help` explains a command, with examples.",
)
@click.option(
    "--config",
    metavar="FILE",
    help="The configuration file; default: $JOBD_CONFIG, else the first of ./jobd.toml, ~/.config/jobd/jobd.toml"
    " and /etc/jobd/jobd.toml that exists.",
)
@click.version_option(__version__, "-V", "--version", prog_name="jobd", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, config: str | None) -> None:
    """Run your Python functions on time, and remember what happened.

    \b
      jobd init && jobd start          write a configuration and start the daemon
      jobd add hello --every 10s       run the task `hello` every 10 seconds
      jobd list                        show all jobs and their states
    """
    gc.enable()  # the command may run for a long time
    ctx.obj = Context(config)
    ctx.call_on_close(ctx.obj.close)


def run(argv: list[str]) -> int:
    """Run the command in `argv` and return its exit code. click's errors become JobdErrors, to be shown like others."""
    if "_JOBD_COMPLETE" in os.environ:
        return shell_complete(cli, {}, "jobd", "_JOBD_COMPLETE", os.environ["_JOBD_COMPLETE"])
    try:
        with cli.make_context("jobd", argv) as ctx:
            code = cli.invoke(ctx)
            return code if isinstance(code, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        raise BadValue(_one_line(error), _hint(error)) from None
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        raise JobdError(_one_line(error)) from None


def _one_line(error: click.ClickException) -> str:
    """click's message in the form of jobd's messages: one line, no capital, no full stop."""
    text = error.message if isinstance(error, MISSPELT) else error.format_message()
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + (text[1:] if len(text) <= MAX_MESSAGE else f"{text[1:MAX_MESSAGE]}...")


def _hint(error: click.UsageError) -> str:
    if isinstance(error, MISSPELT) and error.possibilities:
        return f"did you mean {' or '.join(error.possibilities)}?"
    return f"see `{error.ctx.command_path} --help`" if error.ctx is not None else ""
