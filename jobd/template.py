"""The texts of the files that `jobd init` and `make install` write, and of the jobd.toml in jobd's repository."""

from jobd.config import SYSTEM_FOLDER, SYSTEM_STATE

COMMANDS = "commands = true                   # may jobs run programs? Without this key: not on a shared database"
CONFIG = f"""\
# The configuration of jobd. A commented key shows its default, or an example.
# $JOBD_<KEY> overrides a key ($JOBD_DATABASE, $JOBD_LOG__FORMAT). Relative paths are relative to this file.
# After a change: jobd reload.

database = "sqlite:///jobd.db"    # or "mysql://jobd@host/jobd", "mariadb://...", "postgresql://..."
plugins = "plugins"               # where the tasks are
state_dir = "state"               # the daemon's lock, socket and log
{COMMANDS}

# password_file = "..."           # holds the database's password, and nothing else
# workers = 2                     # jobs that run at the same time; default: one for each core, at least 2
# timezone = "Europe/Berlin"      # of jobs that name none; default: the machine's
# poll = "1s"                     # how soon a change made by another machine or by SQL is seen
# lease = "30s"                   # how soon another machine takes over the jobs of one that has died
# stop_timeout = "60s"            # how long a stopping daemon lets running jobs go on
# on_db_loss = "finish"           # or "kill": what happens to running jobs when the database stays away

[log]
format = "json"                   # or "text"
# level = "info"                  # trace, debug, info, success, warning, error or critical
context = true                    # lines about a run name its job and its number; default: false
# file = "jobd.log"               # default: standard output, or state_dir/jobd.log when in the background
# rotation = "10MiB"              # begin a new file at this size or age
# retention = 10                  # keep so many old files, or those of the last "30d"

# [history]
# keep = "30d"                    # how long finished runs are remembered
# keep_per_job = 1000             # and how many of each job at most
# output = "64KiB"                # how much is kept of what an attempt prints

# [pool.reports]                  # workers that are kept for the jobs of this pool
# workers = 1

# [calendar.holidays]             # days for `jobd add ... --skip-dates holidays`
# dates = ["2026-12-24..2027-01-01", "05-01"]

# [defaults]                      # for jobs that do not say otherwise
# timeout = "1h"
# retry_times = 0                 # of jobs that `jobd add` or `jobd apply` enters without
# backoff = "0s"                  # the pause before the first retry; it doubles with each
# backoff_max = "1h"
# catch_up = "once"               # due times missed while no daemon ran: "once", "none" or "all"
# grace = "1h"                    # a run that would begin later than this is skipped
# on_lost = "rerun"               # or "fail": what becomes of a run whose machine has died
# isolation = "warm"              # or "fork": a child process for each run; "fresh": a new one
"""

PLUGIN_FILE = "hello.py"
PLUGIN = '''\
"""An example. Every function marked `@jobd.task` is a task; its name is the one that `jobd add` asks for."""

import jobd


@jobd.task
def hello(name: str = "world") -> str:
    """jobd add hello --every 10s --arg name=you"""
    print(f"hello {name}, this is run {jobd.current_run().run}")
    return "said hello"
'''


# The example of `make run` prints lines of three keys.
EXAMPLE = CONFIG.replace("context = true                    #", "context = false                   # true:")


def config_for(folder: str) -> str:
    """The text of jobd.toml in `folder`.

    The system's daemon keeps its data in SYSTEM_STATE. The key `commands` is commented out there, because the default
    allows programs on SQLite and forbids them if the database is later replaced by a shared one.
    """
    if folder != SYSTEM_FOLDER:
        return CONFIG
    text = CONFIG.replace('"sqlite:///jobd.db"    #', f'"sqlite:///{SYSTEM_STATE}/jobd.db" #')
    text = text.replace('"state"               #', f'"{SYSTEM_STATE}"       #')
    return text.replace(COMMANDS, f"# {COMMANDS}")
