"""peewee models of `job` and `job_options`, the two tables with users' definitions.

The models are bound to no database; a query is executed on the open database of a Store. jobd's other tables are
written often, in plain SQL, because peewee takes 40 times as long per row.
"""

from peewee import (
    SQL,
    BigAutoField,
    BigIntegerField,
    CharField,
    DateTimeField,
    IntegerField,
    Model,
    SmallIntegerField,
    TextField,
)


class JobModel(Model):
    """A row of `job`. The database sets the times, except `lastFinished_time`."""

    id = BigAutoField()
    name = CharField(unique=True)
    retry_times = BigIntegerField(constraints=[SQL("DEFAULT 0")])
    runonce = SmallIntegerField(constraints=[SQL("DEFAULT 0")])
    interval = CharField(null=True)
    created_time = DateTimeField()
    updated_time = DateTimeField()
    last_finished_time = DateTimeField(column_name="lastFinished_time", null=True)
    is_delete = SmallIntegerField(constraints=[SQL("DEFAULT 0")])

    class Meta:
        table_name = "job"


class OptionsModel(Model):
    """A row of `job_options`, which only a job that differs from the defaults has."""

    job_id = BigIntegerField(primary_key=True)
    task = CharField(null=True)
    command = TextField(null=True)
    args = TextField(null=True)
    secrets = TextField(null=True)
    timezone = CharField(max_length=64, null=True)
    timeout = BigIntegerField(null=True)
    backoff = BigIntegerField(null=True)
    backoff_max = BigIntegerField(null=True)
    catch_up = CharField(max_length=8, null=True)
    grace = BigIntegerField(null=True)
    pool = CharField(max_length=64, null=True)
    jitter = BigIntegerField(null=True)
    starts = BigIntegerField(null=True)
    ends = BigIntegerField(null=True)
    skip_dates = TextField(null=True)
    instead = CharField(max_length=8, null=True)
    after_jobs = TextField(null=True)
    priority = IntegerField(default=0)
    on_lost = CharField(max_length=8, null=True)
    isolation = CharField(max_length=8, null=True)
    paused = SmallIntegerField(default=0)

    class Meta:
        table_name = "job_options"
