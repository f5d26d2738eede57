"""The settings of an installation as values: what jobd.toml says once it is complete. `jobd.config` reads it."""

from typing import NamedTuple

from jobd.job import Options


class LogSettings(NamedTuple):
    """The daemon's log. `rotation` is a size or an age, `retention` a number of files or an age."""

    level: str = "info"
    format: str = "text"
    context: bool = False
    file: str | None = None
    rotation: str | None = None
    retention: str | int | None = None


class HistorySettings(NamedTuple):
    """How long and how much of each run is kept."""

    keep: int  # microseconds
    keep_per_job: int  # runs
    output: int  # bytes of an attempt


class Settings(NamedTuple):
    """What jobd.toml says. Paths are absolute, durations microseconds, and nothing is left open."""

    path: str
    database: str
    password: str | None
    plugins: str
    state_dir: str
    workers: int
    timezone: str  # of schedules that name none; empty: not given, so that of the machine (see jobd.localzone)
    commands: bool
    poll: int
    lease: int
    stop_timeout: int
    on_db_loss: str
    log: LogSettings
    history: HistorySettings
    pools: dict[str, int]
    defaults: Options  # for jobs that leave them open
    retry_times: int  # of a job that is entered without
    zone_of_machine: bool = False  # nothing names a zone, and `timezone` is the machine's
    calendars: dict[str, tuple[str, ...]] = {}  # noqa: RUF012  name → days, for `--skip-dates`
