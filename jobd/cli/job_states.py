"""`rm`, `restore`, `pause`, `resume`. Each is one transaction, and reports what it did.

None of these checks the definition of a job: a job with an invalid one can be removed and paused like any other.
"""

import sys
from typing import Any

import click

from jobd.cli import print_remark
from jobd.cli.context import Context
from jobd.cli.options import EXISTING
from jobd.cli.stdin import be_patient
from jobd.errors import JobdError
from jobd.printable import escape


def _names(function: Any) -> Any:
    return click.argument("names", metavar="NAME...", type=EXISTING, nargs=-1, required=True)(function)


@click.command()
@_names
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation, even if other jobs run after these.")
@click.pass_obj
def rm(context: Context, names: tuple[str, ...], yes: bool) -> None:
    """Delete jobs. Until they are restored they do not run and are hidden; their history is kept.

    If other jobs run after these, it names them and asks first. Without a terminal it then needs --yes.

    \b
      jobd rm report ping
    """
    from jobd.store.definitions import HasDependants, delete

    left: list[str] = []
    while True:
        try:
            dropped = delete(context.store, names, context.now(), context.zone, agreed=left)
            break
        except HasDependants as error:
            left = error.names
            if yes:
                print_remark(f"warning: {error}")
            elif sys.stdin.isatty():
                print_remark(str(error))
                be_patient()
                click.confirm("Delete it anyway?", abort=True, err=True)
            else:
                raise JobdError(str(error), "nothing was deleted; name them too, or give --yes") from None
    _report(context, "deleted", names)
    for name in dropped:
        print_remark(f"note: the run of {name!r} that was requested is dropped")


@click.command()
@_names
@click.pass_obj
def restore(context: Context, names: tuple[str, ...]) -> None:
    """Restore deleted jobs as they were.

    \b
      jobd restore report
    """
    from jobd.store import definitions

    definitions.restore(context.store, names, context.now(), context.zone)
    _report(context, "restored", names)


@click.command()
@_names
@click.pass_obj
def pause(context: Context, names: tuple[str, ...]) -> None:
    """Pause jobs until they are resumed. A run in progress continues; `jobd run` still works.

    \b
      jobd pause report ping
    """
    _set_paused(context, names, True)


@click.command()
@_names
@click.pass_obj
def resume(context: Context, names: tuple[str, ...]) -> None:
    """Resume paused jobs at their next due time. Due times that passed meanwhile are not run.

    \b
      jobd resume report ping
    """
    _set_paused(context, names, False)


def _set_paused(context: Context, names: tuple[str, ...], paused: bool) -> None:
    from jobd.store import definitions

    definitions.set_paused(context.store, names, paused, context.now(), context.zone)
    _report(context, "paused" if paused else "resumed", names)


def _report(context: Context, done: str, names: tuple[str, ...]) -> None:
    """Notify the daemon, and print the jobs that have changed."""
    context.notify_daemon()
    click.echo(f"{done} {', '.join(map(escape, names))}")
