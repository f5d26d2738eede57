"""The settings of an installation as values: jobd.toml with defaults filled in. `jobd.config` reads them."""

from typing import NamedTuple

from jobd.job import Options

INSTANCE_FILE = "instance"  # in the state directory: the permanent id of its daemons
SOCKET_FILE = "jobd.sock"  # in the state directory: the control socket


class LogSettings(NamedTuple):
    """The daemon's log. `rotation` is a size or an age, `retention` is a number of files or an age."""

    level: str = "info"
    format: str = "text"
    context: bool = False
    file: str | None = None
    rotation: str | None = None
    retention: str | int | None = None


class HistorySettings(NamedTuple):
    """The limits of the history."""

    keep: int  # microseconds
    keep_per_job: int  # runs
    output: int  # bytes per attempt


class Settings(NamedTuple):
    """The values of jobd.toml. Paths are absolute, durations are microseconds, and defaults are filled in."""

    path: str
    database: str
    password: str | None
    plugins: str
    state_dir: str
    timezone: str  # for schedules that name none; empty: the machine's zone (see jobd.localzone)
    commands: bool
    poll: int
    lease: int
    stop_timeout: int
    on_db_loss: str
    log: LogSettings
    history: HistorySettings
    pools: dict[str, int]
    defaults: Options  # for options that a job does not set
    retry_times: int  # for jobs that are added without a value
    zone_of_machine: bool = False  # the settings name no zone, and `timezone` is the machine's
    calendars: dict[str, tuple[str, ...]] = {}  # noqa: RUF012  name → days, for `--skip-dates`
