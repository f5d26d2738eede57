"""Real database servers for the tests: private instances in temporary folders, started here and killed by process id.

The tests use no service of the machine. If a server is not installed, its tests are skipped with a message; with
JOBD_TEST_REQUIRE=all (as in CI) they fail. tests/unpack-servers.sh unpacks versions that the system has no packages of
into a cache folder. Another MySQL server is tested if JOBD_TEST_MYSQL_URL names it.
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

import psycopg
import pymysql
import pytest
from pymysql.constants import CLIENT

from jobd.store.connect import dialect_of
from jobd.store.url import parse_url
from tests.processes import family, is_gone

MYSQL = os.environ.get("JOBD_TEST_MYSQL_URL")
KINDS = ("sqlite", "mariadb", "postgresql")
CACHED_KINDS = ("mysql", "mariadb118", "postgresql18")  # from the cache folder
_CACHES = "/var/cache" if os.geteuid() == 0 else os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
CACHE = Path(os.environ.get("JOBD_TEST_CACHE") or Path(_CACHES, "jobd-tests"))
# Unusual settings of servers: jobd must set in its session everything that it needs.
ODD_SETTINGS = {
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
PATIENCE = 180  # seconds for a start, on a slow and busy machine


def missing(what: str, how: str) -> None:
    """Skip the test because a server is missing; fail with JOBD_TEST_REQUIRE=all."""
    message = f"{what} is not installed, so its tests cannot run; install it with: {how}"
    if os.environ.get("JOBD_TEST_REQUIRE") == "all":
        pytest.fail(message)
    pytest.skip(message)


class Server:
    """A running database server that can create empty databases."""

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

    def _new_name(self) -> str:
        self._made += 1
        return f"jobd{self._made}_{os.getpid()}"

    def signal(self, number: int) -> None:
        """Send it a signal: SIGSTOP and SIGCONT freeze and thaw it."""
        assert self._process is not None
        os.kill(self._pid(), number)

    def kill(self) -> None:
        """Kill it, so that it cannot clean up. `start` starts it again."""
        assert self._process is not None
        processes = family(self._process.pid)  # each process of PostgreSQL has its own session
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        while not all(
            map(is_gone, processes)
        ):  # one that waits for the disk exits later, and until then no other server can start
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop it for the rest of the tests."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid


class MySQL(Server):
    """A private MySQL 9 with its default binary log. Each database belongs to a user with no other privileges."""

    scheme = "mysql"

    def __init__(self, folder: Path, settings: Sequence[str], root: Path | None = None) -> None:
        self._root = root
        _own(folder, "root" if root else "mysql")
        program = self._prepare(folder)
        port = free_port()
        options = [f"--datadir={folder}/data", f"--socket={folder}/s.sock", f"--port={port}", f"--tmpdir={folder}"]
        options += ["--bind-address=127.0.0.1", f"--pid-file={folder}/pid"]
        super().__init__([*program, *options, *self._further(), *settings], folder, port)

    def _prepare(self, folder: Path) -> list[str]:
        """Create the server's data and return the command that starts it."""
        command = [f"{self._root}/usr/sbin/mysqld", "--no-defaults", "--user=root", f"--basedir={self._root}/usr"]
        command += [
            f"--lc-messages-dir={self._root}/usr/share/mysql",
            f"--plugin-dir={self._root}/usr/lib/mysql/plugin",
        ]
        command += [f"--character-sets-dir={self._root}/usr/share/mysql/charsets"]
        _made([*command, f"--datadir={folder}/data", "--initialize-insecure"])
        return command

    def _further(self) -> list[str]:
        return ["--secure-file-priv=NULL", "--mysqlx=OFF", *self._hasty()]

    def _hasty(self) -> list[str]:
        """Settings without waits for the disk. No test crashes the servers of further versions."""
        return ["--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0", "--innodb-doublewrite=0"]

    def ping(self) -> bool:
        return _tried(lambda: self.sql("SELECT 1"))

    def sql(self, statement: str) -> None:
        connection = pymysql.connect(
            user="root",
            unix_socket=f"{self.folder}/s.sock",
            autocommit=True,
            client_flag=CLIENT.MULTI_STATEMENTS,
            charset="utf8mb4",
            read_timeout=PATIENCE,
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            while cursor.nextset():
                pass

    def new_database(self) -> str:
        name = self._new_name()
        self.sql(f"CREATE DATABASE {name}")
        if self._root is None:
            return f"{self.scheme}://root@127.0.0.1:{self.port}/{name}"
        self.sql(
            f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'pass word'; GRANT ALL ON {name}.* TO {name}@'127.0.0.1'"
        )
        return f"{self.scheme}://{name}:pass%20word@127.0.0.1:{self.port}/{name}"


class MariaDB(MySQL):
    """A private MariaDB. With --no-defaults its character set is latin1, which reveals a missing utf8mb4."""

    scheme = "mariadb"

    def _prepare(self, folder: Path) -> list[str]:
        base = f"{self._root}/usr" if self._root else "/usr"
        user = _as("root" if self._root else "mysql")
        program = f"{base}/bin/mariadb-install-db" if self._root else "mariadb-install-db"
        _made(
            [
                *(program, "--no-defaults", *user, f"--basedir={base}", f"--datadir={folder}/data", "--skip-test-db"),
                *("--auth-root-authentication-method=normal", f"--tmpdir={folder}", "--skip-name-resolve"),
            ]
        )
        command = [f"{base}/sbin/mariadbd", "--no-defaults", *user]
        if self._root:
            command += [f"--basedir={base}", f"--lc-messages-dir={base}/share/mysql"]
            command += [f"--plugin-dir={base}/lib/mysql/plugin", f"--character-sets-dir={base}/share/mysql/charsets"]
        return command

    def _further(self) -> list[str]:
        return ["--skip-log-bin", *(self._hasty() if self._root else ["--innodb-flush-log-at-trx-commit=1"])]


class PostgreSQL(Server):
    """A private PostgreSQL."""

    def __init__(self, folder: Path, settings: Sequence[str], root: Path | None = None) -> None:
        _own(folder, "postgres")
        programs = _postgresql_programs(root or Path("/"))
        initdb = [f"{programs}/initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "postgres", "--no-sync"]
        if root:  # its libraries do not support the locales of this machine
            initdb += ["--encoding=UTF8", "--locale=C"]
        _made(_run_as("postgres", initdb))
        port = free_port()
        command = [f"{programs}/postgres", "-D", f"{folder}/data", "-k", str(folder), "-p", str(port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=50", *settings]
        command += ["-c", "fsync=off"] if root else []
        super().__init__(_run_as("postgres", command), folder, port)

    def ping(self) -> bool:
        return _tried(lambda: self.sql("SELECT 1"))

    def sql(self, statement: str) -> None:
        with psycopg.connect(host=str(self.folder), port=self.port, user="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def new_database(self) -> str:
        name = self._new_name()
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"


class Standby(PostgreSQL):
    """A PostgreSQL standby of another server, until it is promoted."""

    def __init__(self, folder: Path, primary: Server) -> None:
        _own(folder, "postgres")
        programs = _postgresql_programs(Path("/"))
        copy = [f"{programs}/pg_basebackup", "-h", f"{primary.folder}", "-p", f"{primary.port}", "-U", "postgres"]
        _made(_run_as("postgres", [*copy, "-D", f"{folder}/data", "-R", "-c", "fast", "--no-sync"]))
        port = free_port()
        command = [f"{programs}/postgres", "-D", f"{folder}/data", "-k", str(folder), "-p", str(port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=50"]
        Server.__init__(self, _run_as("postgres", command), folder, port)

    def promote(self) -> None:
        """Make it a primary and wait until it accepts writes."""
        self.sql("SELECT pg_promote()")


class PgBouncer(Server):
    """A connection pooler for PostgreSQL: successive transactions get different ones of a few sessions."""

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
    """A pgbouncer for a running PostgreSQL, within this context."""
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
    """A synchronous standby of a running PostgreSQL, within this context."""
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
    """A server of this kind with these `settings`, within this context.

    `prepare` may write files into its folder, and returns further settings.
    """
    root = None
    if kind in CACHED_KINDS:
        root = CACHE / kind / "root"
        if not (root.parent / "ready").exists():
            missing(f"The server {kind}", "tests/unpack-servers.sh")
    if kind == "mariadb" and not shutil.which("mariadb-install-db"):
        missing("MariaDB", "apt-get install mariadb-server")
    if kind == "postgresql" and not _postgresql_programs(Path("/")):
        missing("PostgreSQL", "apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix=f"jobd-{kind}-"))
    server = None
    try:
        server = _CLASSES[kind.rstrip("0123456789")](folder, settings, root)
        server.command += prepare(folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


_CLASSES: dict[str, type[MySQL | PostgreSQL]] = {"mysql": MySQL, "mariadb": MariaDB, "postgresql": PostgreSQL}


class Elsewhere:
    """An external MySQL server: JOBD_TEST_MYSQL_URL names a database and a user who may create others."""

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
        """Remove the created databases."""
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
    """A free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tried(work: Callable[[], object]) -> bool:
    try:
        work()
    except (pymysql.Error, psycopg.Error):
        return False
    return True


def _postgresql_programs(root: Path) -> str | None:
    found = sorted((root / "usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return str(found[-1].parent) if found else None


def _made(command: list[str]) -> None:
    """Run a command that creates a server's data."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _own(folder: Path, user: str) -> None:
    """Give a folder to the service's user, because servers refuse to run as root."""
    folder.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, user)


def _as(user: str) -> list[str]:
    return [f"--user={user}"] if os.geteuid() == 0 else []


def _run_as(user: str, command: list[str]) -> list[str]:
    if os.geteuid() != 0:
        return command
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
