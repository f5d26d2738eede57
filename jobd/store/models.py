"""peewee models of `job` and `job_options`, the two tables with users' definitions.

The models are bound to no database; a query is executed on the open database of a Store. jobd's other tables are
written often, in plain SQL, because peewee takes 40 times as long per row.
"""

from peewee import SQL, BigAutoField, BigIntegerField, CharField, DateTimeField, Model, SmallIntegerField


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
    """The key of a row of `job_options`, which only a job that differs from the defaults has (see jobd.options)."""

    job_id = BigIntegerField(primary_key=True)

    class Meta:
        table_name = "job_options"
