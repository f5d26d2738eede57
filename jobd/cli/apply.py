"""Jobs in a file: `apply` makes the database match the file, `export` writes one."""

import gc
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import click

from jobd.cli import job_format, print_remark
from jobd.cli.context import Context
from jobd.cli.options import json_option
from jobd.cli.portable import portable
from jobd.cli.stdin import be_patient
from jobd.cli.terminal import STYLES, coloured, print_json
from jobd.errors import BadValue, JobdError
from jobd.job import Job
from jobd.options import BY_NAME
from jobd.printable import escape

if TYPE_CHECKING:
    from jobd.store.apply import Difference

MAX_SHOWN = 200  # lines of a difference
MAX_FILE = 64 * 2**20  # bytes


@click.command(epilog=f"The keys of a job: {', '.join((*job_format.COLUMNS, *BY_NAME))}.")
@click.argument("file", metavar="FILE")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@click.option("--dry-run", "-n", is_flag=True, help="Only show what would change.")
@click.option("--prune", is_flag=True, help="Delete the jobs that the file does not name.")
@json_option
@click.pass_obj
def apply(context: Context, file: str, yes: bool, dry_run: bool, prune: bool, as_json: bool) -> None:
    """Make the jobs match FILE, a TOML file of [job.NAME] tables; `-` is standard input.

    Shows what it will add (+), change (~) and, with --prune, delete (-). Then it applies all of that or nothing.

    \b
      jobd apply jobs.toml
      jobd apply jobs.toml --prune --yes
      jobd export | ssh other jobd apply - --yes

    \b
      [job.backup]
      interval = "30 2 * * *"         # every schedule string: 10s, after 1m, cron, at …
      timezone = "Europe/Berlin"
      retry_times = 3
      backoff = "10s"
    """
    from jobd.store import apply

    gc.disable()  # there may be thousands of jobs, all in use until the end, so there is nothing to collect
    text, source = _read(file)
    stored = apply.all_jobs(context.store)
    wanted = job_format.load(
        text, source, context.zone, {job.name: job for job in stored}, context.settings.retry_times
    )
    difference = apply.compare(stored, wanted, prune)
    _show(difference, as_json)
    if not any(difference):
        return
    if dry_run:
        apply.try_out(context.store, wanted, prune, context.now(), context.zone)
        return
    if not yes:
        if file == "-" or not sys.stdin.isatty():
            raise BadValue(
                "nothing was changed: without a terminal there is no way to ask for confirmation",
                "give --yes, or --dry-run to see the changes",
            )
        be_patient()
        click.confirm("Apply these changes?", abort=True, err=True)
    apply.apply(context.store, wanted, prune, context.now(), context.zone)
    context.notify_daemon()


@click.command()
@click.option("--output", "-o", metavar="FILE", help="Write to FILE instead of standard output.")
@click.pass_obj
def export(context: Context, output: str | None) -> None:
    """Write the jobs as a TOML file for `jobd apply`.

    It leaves out the values of secret arguments. It leaves out deleted jobs, unless other jobs run after them.

    \b
      jobd export > jobs.toml
    """
    chosen = portable(context.reader.jobs(deleted=True))
    for name, why in chosen.left_out:
        print_remark(f"warning: {name!r} is left out: {why}")
    text = job_format.dump(chosen.jobs, context.zone, context.settings.retry_times)
    if output is None:
        sys.stdout.write(text)
        return
    with open(output, "w", encoding="utf-8") as stream:
        stream.write(text)


def _read(file: str) -> tuple[str, str]:
    """The text of `file`, and its name in messages."""
    source = "standard input" if file == "-" else file
    try:
        if file == "-":
            be_patient()
            data = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with open(file, "rb") as stream:
                data = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise JobdError(f"cannot read {file}: {error.strerror}") from None
    if len(data) > MAX_FILE:  # never go on with a part of it: with --prune, the rest of the jobs would be deleted
        raise BadValue(f"{source} is larger than {MAX_FILE >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadValue(f"{file} is not UTF-8: {error.reason} at byte {error.start}") from None
    if not text.strip():
        raise BadValue(f"{source} is empty", "without any job it would be: [job]")
    return text, source


def _show(difference: "Difference", as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "added": [job.name for job in difference.added],
                "changed": [job.name for _, job in difference.changed],
                "deleted": [job.name for job in difference.deleted],
            }
        )
        return
    for sign, style, text in islice(_lines(difference), MAX_SHOWN):
        start, end = (f"\x1b[{STYLES[style]}m", "\x1b[0m") if coloured(sys.stdout) else ("", "")
        sys.stdout.write(f"{start}{sign} {escape(text)}{end}\n")
    counts: Sequence[int] = [len(part) for part in difference]
    if sum(counts) > MAX_SHOWN:
        sys.stdout.write(f"  … and {sum(counts) - MAX_SHOWN} more\n")
    summary = "{} to add, {} to change, {} to delete".format(*counts) if any(counts) else "nothing to do"
    sys.stdout.write(summary + "\n")
    sys.stdout.flush()


def _lines(difference: "Difference") -> Iterator[tuple[str, str, str]]:
    """(sign, style, change) for each job."""
    for job in difference.added:
        yield "+", "good", f"{job.name}: {_words(job_format.table_of(job))}"
    for old, new in difference.changed:
        yield "~", "wait", f"{new.name}: {changes(old, new)}"
    for job in difference.deleted:
        yield "-", "bad", job.name


def changes(old: Job, new: Job) -> str:
    """The differences between two definitions, in words."""
    before, after = job_format.table_of(old), job_format.table_of(new)
    words = [
        f"{key} {_value(before.get(key))} → {_value(after.get(key))}"
        for key in job_format.KEYS
        if before.get(key) != after.get(key)
    ]
    if any(old.options.args.get(key) != new.options.args.get(key) for key in new.options.secrets):
        words.append("a secret argument")
    return ", ".join(words)


def _words(table: dict[str, object]) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in table.items())


def _value(value: object) -> str:
    return "(default)" if value is None else repr(value) if isinstance(value, str) else str(value)
