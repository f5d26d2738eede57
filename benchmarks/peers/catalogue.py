"""The peers: the packages of each, the place of its jobs, and the data on disk when a run has ended."""

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit


class Peer(NamedTuple):
    """A scheduler that a user might pick instead, in the version that was compared."""

    name: str
    program: str  # the file beside this one
    database: str
    packages: tuple[str, ...]
    durable: str
    store: Callable[[str], str] = str  # from the URL of an empty database to what the program takes


def _sqlalchemy(url: str) -> str:
    return "mysql+pymysql" + url.removeprefix("mariadb") if url.startswith("mariadb") else url


def _path(url: str) -> str:
    return urlsplit(url).path[1:]


_APSCHEDULER = ("APScheduler==3.11.3", "SQLAlchemy==2.1.9", "PyMySQL==1.2.4")
_ONE_COMMIT = (
    "the job's next time or its deletion, a commit a run as a thread takes it; no history, a lost run stays lost"
)

PEERS = {
    "huey": Peer(
        *("Huey 3.5.4", "huey3.py", "sqlite", ("huey==3.5.4",)),
        "the task's deletion, before it runs (fsync on); a task that runs when the process dies is lost; no history",
        _path,
    ),
    "apscheduler": Peer("APScheduler 3.11", "apscheduler3.py", "sqlite", _APSCHEDULER, _ONE_COMMIT),
    "apscheduler-mariadb": Peer(
        "APScheduler 3.11", "apscheduler3.py", "mariadb", _APSCHEDULER, _ONE_COMMIT, _sqlalchemy
    ),
    "procrastinate": Peer(
        *("Procrastinate 3.10", "procrastinate3.py", "postgresql"),
        ("procrastinate==3.10.0", "psycopg[binary,pool]==3.3.9"),
        "fetched, then finished, two commits a run; the row is kept, with its events",
    ),
    "pgqueuer": Peer(
        *("pgqueuer 1.6", "pgqueuer1.py", "postgresql", ("pgqueuer==1.6.0", "asyncpg==0.32.0")),
        "picked in batches of 10; what is finished moves to its log in batches",
    ),
    "celery": Peer(
        *("Celery 5.7", "celery5.py", "redis", ("celery==5.7.0", "redis==8.1.0", "packaging==25.0")),
        "nothing at the moment of the acknowledgement: Redis as it comes writes a snapshot now and then",
    ),
}
JOBD_DURABLE = "the claim before the start; the outcome, with its row of the history, before it is reported"
