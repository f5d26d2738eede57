"""Real database servers for the tests: private instances on a temporary folder, started here and ended by process id.

Nothing relies on a service that happens to run. Where a server is not installed its tests are skipped and say so; with
JOBD_TEST_REQUIRE=all (as in CI) that is a failure. MySQL proper is tested where JOBD_TEST_MYSQL_URL names a server.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from jobd.store.connect import dialect_of
from jobd.store.url import parse_url

MYSQL = os.environ.get("JOBD_TEST_MYSQL_URL")
KINDS = ("sqlite", "mariadb", "postgresql")
# Servers as somebody else may have set them up: what jobd needs, it must ask for itself.
ODD = {
    "mariadb": [
        *("--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT", "--character-set-server=latin1"),
        *("--default-time-zone=+09:00", "--transaction-isolation=REPEATABLE-READ", "--autocommit=0"),
        *("--lower-case-table-names=1", "--group-concat-max-len=4", "--innodb-lock-wait-timeout=1"),
    ],
    "postgresql": [
        *("-c", "default_transaction_isolation=serializable", "-c", "timezone=Asia/Tokyo", "-c", "datestyle=German"),
        *("-c", "standard_conforming_strings=off", "-c", "escape_string_warning=off", "-c", "bytea_output=escape"),
        *("-c", "extra_float_digits=-15", "-c", "statement_timeout=0", "-c", "synchronize_seqscans=off"),
        *("-c", "intervalstyle=iso_8601", "-c", "xmloption=document", "-c", "default_transaction_deferrable=on"),
    ],
}
PATIENCE = 60


def missing(what: str, how: str) -> None:
    """Skip the test because a server is missing; fail where none may be."""
    message = f"{what} is not installed, so its tests cannot run; install it with: {how}"
    if os.environ.get("JOBD_TEST_REQUIRE") == "all":
        pytest.fail(message)
    pytest.skip(message)


class Server:
    """A running database server that makes empty databases."""

    def __init__(self, command: list[str], folder: Path, port: int, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = port
        self.command = command
        self._environ = environ
        self._made = 0
        self._process: subprocess.Popen[bytes] | None = None

    def ping(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    def sql(self, statement: str) -> None:
        """Run a statement as the administrator."""
        raise NotImplementedError

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            self.command, stdout=log, stderr=log, start_new_session=True, env=self._environ
        )
        log.close()
        deadline = time.monotonic() + PATIENCE
        while not self.ping():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.command[0]} did not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Send it a signal: SIGSTOP and SIGCONT freeze and thaw it."""
        assert self._process is not None
        os.kill(self._pid(), number)

    def kill(self) -> None:
        """End it without a chance to tidy up; `start` brings it back."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it for good."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid


class MariaDB(Server):
    """A private MariaDB. With --no-defaults its character set is latin1: what forgets to say utf8mb4 shows."""

    def __init__(self, folder: Path, settings: Sequence[str]) -> None:
        _own(folder, "mysql")
        _made(
            [
                *("mariadb-install-db", "--no-defaults", *_as("mysql"), f"--datadir={folder}/data", "--skip-test-db"),
                *("--auth-root-authentication-method=normal", f"--tmpdir={folder}"),
            ]
        )
        port = free_port()
        command = [shutil.which("mariadbd") or "/usr/sbin/mariadbd", "--no-defaults", *_as("mysql")]
        command += [
            f"--datadir={folder}/data",
            f"--socket={folder}/s.sock",
            f"--port={port}",
            f"--tmpdir={folder}",
            "--bind-address=127.0.0.1",
        ]
        command += [f"--pid-file={folder}/pid", "--innodb-flush-log-at-trx-commit=1", "--skip-log-bin", *settings]
        super().__init__(command, folder, port)

    def ping(self) -> bool:
        command = ["mariadb-admin", "--no-defaults", "-uroot", f"--socket={self.folder}/s.sock", "ping"]
        return subprocess.run(command, capture_output=True).returncode == 0

    def sql(self, statement: str) -> None:
        command = ["mariadb", "--no-defaults", "-uroot", f"--socket={self.folder}/s.sock", "-e", statement]
        subprocess.run(command, check=True, capture_output=True)

    def new_database(self) -> str:
        self._made += 1
        name = f"jobd{self._made}_{os.getpid()}"
        self.sql(f"CREATE DATABASE {name}")
        return f"mariadb://root@127.0.0.1:{self.port}/{name}"


class PostgreSQL(Server):
    """A private PostgreSQL."""

    def __init__(self, folder: Path, settings: Sequence[str]) -> None:
        _own(folder, "postgres")
        programs = _postgresql_programs()
        initdb = [f"{programs}/initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "postgres", "--no-sync"]
        _made(_run_as("postgres", initdb))
        port = free_port()
        command = [f"{programs}/postgres", "-D", f"{folder}/data", "-k", str(folder), "-p", str(port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=50", *settings]
        super().__init__(_run_as("postgres", command), folder, port)

    def ping(self) -> bool:
        try:
            self.sql("SELECT 1")
        except subprocess.CalledProcessError:
            return False
        return True

    def sql(self, statement: str) -> None:
        command = ["psql", "-X", "-h", str(self.folder), "-p", str(self.port), "-U", "postgres", "-c", statement]
        subprocess.run(command, check=True, capture_output=True)

    def new_database(self) -> str:
        self._made += 1
        name = f"jobd{self._made}_{os.getpid()}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"


class Standby(PostgreSQL):
    """A PostgreSQL that follows another, until it is promoted."""

    def __init__(self, folder: Path, primary: Server) -> None:
        _own(folder, "postgres")
        programs = _postgresql_programs()
        copy = [f"{programs}/pg_basebackup", "-h", f"{primary.folder}", "-p", f"{primary.port}", "-U", "postgres"]
        _made(_run_as("postgres", [*copy, "-D", f"{folder}/data", "-R", "-c", "fast", "--no-sync"]))
        port = free_port()
        command = [f"{programs}/postgres", "-D", f"{folder}/data", "-k", str(folder), "-p", str(port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=50"]
        Server.__init__(self, _run_as("postgres", command), folder, port)

    def promote(self) -> None:
        """Make it a primary; when this returns it can be written."""
        self.sql("SELECT pg_promote()")


class PgBouncer(Server):
    """A pooler before a PostgreSQL: each transaction is given another of a few sessions, as far as one is free."""

    def __init__(self, folder: Path, behind: Server, mode: str = "transaction") -> None:
        _own(folder, "postgres")
        port = free_port()
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": folder,
            "auth_type": "any",
            "pool_mode": mode,
            "default_pool_size": 5,
            "server_idle_timeout": 2,
            "server_round_robin": 1,
            "max_client_conn": 200,
        }
        lines = ["[databases]", f"* = host={behind.folder} port={behind.port} user=postgres", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        super().__init__(_run_as("postgres", [program, f"{folder}/pgbouncer.ini"]), folder, port)
        self._behind = behind

    def ping(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def sql(self, statement: str) -> None:
        self._behind.sql(statement)

    def new_database(self) -> str:
        return self._behind.new_database().replace(f":{self._behind.port}/", f":{self.port}/")


@contextlib.contextmanager
def pooled(behind: Server, mode: str = "transaction") -> Iterator[Server]:
    """A pgbouncer before a running PostgreSQL, for as long as the block lasts."""
    if not (shutil.which("pgbouncer") or Path("/usr/sbin/pgbouncer").exists()):
        missing("pgbouncer", "apt-get install pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="jobd-pgbouncer-"))
    pooler = PgBouncer(folder, behind, mode)
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def following(primary: Server) -> Iterator[Standby]:
    """A standby of a running PostgreSQL that each commit waits for, for as long as the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="jobd-standby-"))
    standby = Standby(folder, primary)
    try:
        standby.start()
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.sql("SELECT pg_reload_conf()")
        yield standby
    finally:
        standby.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(
    kind: str, settings: Sequence[str] = (), prepare: Callable[[Path], list[str]] = lambda folder: []
) -> Iterator[Server]:
    """A server of this kind ("mariadb" or "postgresql"), set up with `settings`, for as long as the block lasts.

    `prepare` may put files into its folder, and returns further settings.
    """
    if kind == "mariadb" and not shutil.which("mariadb-install-db"):
        missing("MariaDB", "apt-get install mariadb-server")
    if kind == "postgresql" and not _postgresql_programs():
        missing("PostgreSQL", "apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix=f"jobd-{kind}-"))
    server = None
    try:
        server = MariaDB(folder, settings) if kind == "mariadb" else PostgreSQL(folder, settings)
        server.command += prepare(folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Elsewhere:
    """A MySQL server that somebody else runs: JOBD_TEST_MYSQL_URL names a database of it and who may make others."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._made: list[str] = []

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"jobd{len(self._made)}_{os.getpid()}"
        self._sql(f"CREATE DATABASE {name}")
        self._made.append(name)
        return urlsplit(self._url)._replace(path=f"/{name}").geturl()

    def close(self) -> None:
        """Remove what was made."""
        for name in self._made:
            self._sql(f"DROP DATABASE {name}")

    def _sql(self, statement: str) -> None:
        target = parse_url(self._url)
        connection = dialect_of(target).connect(target, create=False)
        try:
            connection.cursor().execute(statement)
        finally:
            connection.close()


def sqlite_url(folder: Path) -> str:
    """The URL of a database file in `folder`."""
    return f"sqlite:///{quote(str(folder / 'jobd.db'))}"


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _postgresql_programs() -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return str(found[-1].parent) if found else None


def _made(command: list[str]) -> None:
    """Run what makes a server's data."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _own(folder: Path, user: str) -> None:
    """Servers refuse to run as root: the folder is the service user's."""
    folder.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, user)


def _as(user: str) -> list[str]:
    return [f"--user={user}"] if os.geteuid() == 0 else []


def _run_as(user: str, command: list[str]) -> list[str]:
    if os.geteuid() != 0:
        return command
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
