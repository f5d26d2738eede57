"""`jobd rename`: gives a job another name and changes nothing else."""

import click

from jobd.cli import print_remark
from jobd.cli.context import Context
from jobd.cli.options import EXISTING, NAME, json_option
from jobd.cli.terminal import print_json
from jobd.printable import escape
from jobd.view.documents import job_document


@click.command()
@click.argument("old", metavar="OLD", type=EXISTING)
@click.argument("new", metavar="NEW", type=NAME)
@json_option
@click.pass_obj
def rename(context: Context, old: str, new: str, as_json: bool) -> None:
    """Rename the job OLD to NEW. It keeps its history, its options and the jobs that run after it.

    A run in progress continues. A job that was added without --task still runs the task of its old name.

    \b
      jobd rename report report-daily
    """
    from jobd.store.rename import rename as give_name

    job = give_name(context.store, old, new, context.now(), context.zone)
    context.notify_daemon()
    if as_json:
        print_json(job_document(context.reader.job(new), context.zone))
        return
    if job.options.jitter or "H" in (job.interval or ""):
        print_remark(f"note: the share of a jitter and the H of a cron expression go by the name {new!r} now")
    runs = f"; it runs the task {escape(job.task)}" if job.options.task is not None else ""
    click.echo(f"renamed {escape(old)} to {escape(new)}{runs}")
