"""The plugins as the daemon sees them: with its environment, as its user, from its working directory."""

import os

from jobd.config import Settings
from jobd.runner.environment import without
from jobd.runner.listing import Listing, list_tasks
from jobd.store.url import parse_url


def environment(settings: Settings) -> dict[str, str]:
    """What a process that imports plugins finds in its environment."""
    target = parse_url(settings.database, settings.password)
    # PostgreSQL's client library takes a password that jobd was not given from the environment.
    asked = target.kind == "postgresql" and target.password is None
    return without(os.environ, ("JOBD_DATABASE", "PGPASSWORD") if asked else ("JOBD_DATABASE",))


def tasks_of(settings: Settings, asked: str | None = None) -> Listing:
    """What the plugins offer (see `list_tasks`); the working directory is the state folder, when there is one."""
    directory = settings.state_dir if os.path.isdir(settings.state_dir) else "."
    return list_tasks(settings.plugins, environment(settings), directory, asked)
