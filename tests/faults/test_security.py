"""Access of other users and of tasks: files, links, passwords, processes, descriptors, ports and TLS."""

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.installation import ROOT, Installation, until
from tests.processes import family

CANARY = "cAnary-7391-pä€"
SECRET = "sEcret-5826"
PLUGIN = '''
import os
import jobd

HOME = os.path.dirname(os.path.dirname(__file__))

@jobd.task
def prints():
    for number in range(100):
        print("x" * 50)

@jobd.task
def waits(key=""):
    """Goes on until the file `open` is there, then fails with a secret in a local variable."""
    os.mkdir(HOME + "/waiting")  # and no descriptor for a moment
    while not os.path.exists(HOME + "/open"):
        pass
    raise ValueError("as always")

@jobd.task
def starts_a_program():
    os.system(f"ls -l /proc/self/fd > {HOME}/descriptors.new; mv {HOME}/descriptors.new {HOME}/descriptors")

@jobd.task
def spies():
    """What a curious task finds about the daemon, two processes up."""
    parent = open(f"/proc/{os.getppid()}/stat").read().rpartition(")")[2].split()[1]
    try:
        return open(f"/proc/{parent}/environ").read()
    except OSError as error:
        return error.strerror
'''
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root refuses it")


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path / "home", plugin=PLUGIN)
    yield installation
    installation.close()


@pytest.fixture(params=[0o000, 0o077], ids=["umask 0", "umask 077"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def refused(answer: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line with which a command was refused."""
    assert answer.returncode == code, answer
    assert answer.stderr.startswith("jobd: error: "), answer
    assert answer.stderr.count("\n") == 1, answer
    return answer.stderr


def modes(folder: Path) -> dict[str, int]:
    """The permissions of everything below `folder`, without those of links."""
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


def descriptors(pid: int) -> dict[int, str]:
    """What each descriptor of a process leads to."""
    found = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just been closed
            found[int(path.name)] = os.readlink(path)
    return found


# Files


def test_files_of_jobd_are_private_to_its_user_under_every_umask(umask: int, tmp_path: Path) -> None:
    installation = Installation(tmp_path / "home", plugin=PLUGIN)
    shutil.rmtree(installation.folder)
    subprocess.run(
        [sys.executable, "-m", "jobd", "init", str(installation.folder / "within")],
        env=installation.environ,
        check=True,
        timeout=60,
    )
    folder = installation.folder / "within"
    installation.folder, installation.state = folder, folder / "deep" / "state"
    (folder / "plugins" / "tasks.py").touch(0o644)
    (folder / "plugins" / "tasks.py").write_text(PLUGIN)
    installation.environ |= {"JOBD_STATE_DIR": "deep/state", "JOBD_LOG__ROTATION": "2KiB"}
    try:
        installation.fine("add", "prints", "--once")
        installation.fine("start")
        installation.ended("prints")
        installation.fine("export", "--output", str(folder / "jobs.toml"))
        found = modes(folder)
    finally:
        installation.close()
    private = {"jobd.db", "jobd.db-wal", "jobd.db-shm", "deep/state"}
    private |= {f"deep/state/{name}" for name in ("jobd.pid", "jobd.sock", "jobd.log", "instance", "begun")}
    private |= {name for name in found if re.fullmatch(r"deep/state/jobd\..+\.log", name)}
    assert list(installation.state.glob("jobd.*.log")), "no log was rotated"
    assert {"jobd.toml", "plugins", "plugins/hello.py", "jobs.toml", "deep"} | private <= set(found)
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o022} == {}
    assert {name: oct(found[name]) for name in private if found[name] & 0o077} == {}


VICTIM = "precious\n"


@pytest.mark.parametrize(
    ("link", "code"),
    [
        ("jobd.db", 78),
        ("state", 78),
        ("state/jobd.pid", 78),
        ("state/jobd.log", 78),
        ("elsewhere.log", 78),
        ("state/jobd.sock", 0),
        ("state/instance", 0),
        ("state/instance.new", 78),
    ],
)
@pytest.mark.parametrize("content", [VICTIM, "", None], ids=["text", "empty", "missing"])
def test_a_link_planted_in_the_place_of_a_file_changes_no_victim(
    installation: Installation, tmp_path: Path, link: str, code: int, content: str | None
) -> None:
    victim = tmp_path / "victim"
    if content is not None:
        victim.write_text(content)
        victim.chmod(0o644)
    if link.startswith("state/"):
        installation.state.mkdir(0o700)
    (installation.folder / link).symlink_to(victim)
    if link == "elsewhere.log":
        installation.environ["JOBD_LOG__FILE"] = link
    detached = link == "state/jobd.log"
    if code:
        message = refused(installation.jobd("start", *([] if detached else ["--foreground"])), code)
        assert str(installation.folder / link).removesuffix(".new") in message
    else:
        installation.fine("start")
        installation.fine("stop")
    assert victim.exists() is (content is not None)
    if content is not None:
        assert (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)) == (content, 0o644)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("victim-")] == []


@pytest.mark.parametrize("words", [["list"], ["add", "x", "--once", "--", "true"], ["start", "--foreground"]])
def test_a_database_that_is_a_link_is_not_followed(installation: Installation, words: list[str]) -> None:
    (installation.folder / "jobd.db").symlink_to(installation.folder / "victim")
    assert "is a symbolic link" in refused(installation.jobd(*words), 78)


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_links_beside_the_database_are_not_followed(installation: Installation, suffix: str) -> None:
    installation.fine("add", "x", "--once", "--", "true")
    victim = installation.folder / "victim"
    victim.write_text(VICTIM)
    link = installation.folder / f"jobd.db{suffix}"
    link.unlink(missing_ok=True)
    link.symlink_to(victim)
    refused(installation.jobd("add", "y", "--once", "--", "true"), 4)
    assert victim.read_text() == VICTIM


def test_a_folder_that_holds_other_things_does_not_become_the_state_directory(installation: Installation) -> None:
    (installation.folder / "etc").mkdir(0o755)
    (installation.folder / "etc" / "passwd").write_text(VICTIM)
    installation.state.symlink_to("etc")
    assert "contains other files" in refused(installation.jobd("start", "-f"), 78)
    assert modes(installation.folder)["etc"] == 0o755
    assert os.listdir(installation.folder / "etc") == ["passwd"]


@as_root
def test_the_state_directory_of_another_user_is_not_used(installation: Installation) -> None:
    installation.state.mkdir(0o700)
    os.chown(installation.state, 65534, 65534)
    assert "belongs to another user" in refused(installation.jobd("start", "-f"), 78)


@as_root
@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["stop"], ["restart"], ["reload"]])
def test_a_state_directory_that_is_closed_to_this_user_is_named_with_its_owner(
    installation: Installation, words: list[str]
) -> None:
    installation.state.mkdir(0o700)
    os.chown(installation.state, 65534, 65534)
    # Root without the right to pass over permissions: any other user could not run this Python.
    ordinary = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    done = subprocess.run(
        [*ordinary, *installation.command(*words)],
        cwd=installation.folder,
        env=installation.environ,
        capture_output=True,
        text=True,
    )
    message = refused(done, 1)
    assert f"state directory {installation.state} is closed to this user" in message
    assert "sudo -u nobody jobd" in message


@as_root
@pytest.mark.parametrize("name", ["jobd.toml", "plugins", "plugins/tasks.py", "plugins/package/inner.py"])
def test_root_refuses_files_that_other_users_can_write(installation: Installation, name: str) -> None:
    (installation.folder / "plugins" / "package").mkdir()
    (installation.folder / "plugins" / "package" / "inner.py").touch()
    (installation.folder / "plugins" / "tasks.py").write_text(PLUGIN + "open(HOME + '/imported', 'w')\n")
    path = installation.folder / name
    path.chmod(path.stat().st_mode | 0o002)
    toml = 78 if name == "jobd.toml" else 2
    for words, code in ((["start", "-f"], 78), (["tasks"], 78), (["add", "prints", "--once"], toml)):
        message = refused(installation.jobd(*words), code)
        assert "world-writable" in message
        assert str(path) in message
    assert not (installation.folder / "imported").exists()


@as_root
def test_a_reload_refuses_a_plugin_that_other_users_can_write(installation: Installation) -> None:
    installation.foreground()
    (installation.folder / "plugins" / "tasks.py").chmod(0o666)
    assert "is world-writable" in refused(installation.jobd("reload"), 1)
    assert installation.status()["state"] == "running"


@as_root
@pytest.mark.parametrize("how", ["file", "link"])
def test_a_configuration_that_another_user_has_put_into_a_shared_folder_is_not_taken(
    installation: Installation, how: str
) -> None:
    shared = installation.folder / "tmp"
    shutil.copytree(installation.folder / "plugins", shared / "plugins")
    shared.chmod(0o1777)
    if how == "file":
        shutil.copy(installation.folder / "jobd.toml", shared)
    else:
        (shared / "jobd.toml").symlink_to(installation.folder / "jobd.toml")
    os.chown(shared / "jobd.toml", 65534, 65534, follow_symlinks=False)
    command = [sys.executable, "-m", "jobd", "tasks"]
    run: Callable[..., Any] = subprocess.run
    options = {"cwd": shared, "env": installation.environ, "capture_output": True, "text": True, "timeout": 60}
    message = refused(run(command, **options), 78)
    assert how == "link" or "belongs to another user" in message  # such a link the kernel may keep us from following
    os.chown(shared / "jobd.toml", 0, 0, follow_symlinks=False)
    assert run(command, **options).returncode == 0


# Processes


def test_a_worker_has_only_its_own_descriptors(installation: Installation) -> None:
    daemon = installation.foreground()
    installation.fine("add", "waits", "--once")
    until((installation.folder / "waiting").exists)
    guardian, worker = family(daemon.pid)[1:]
    ours, theirs = descriptors(guardian), descriptors(worker)
    (installation.folder / "open").touch()
    kinds = [re.sub(r":\[\d+\]", "", theirs[number]) for number in sorted(theirs)]
    memory = "/memfd:jobd (deleted)"  # its own ring
    looked_at = ("status", "oom_score_adj", "cgroup", "personality", "timers", "loginuid")  # its own, after runs
    own = [f"/proc/{worker}/{name}" for name in looked_at]
    assert sorted(kinds) == sorted(["/dev/null", "pipe", "pipe", "socket", memory, str(installation.state), *own])
    assert theirs[1] == theirs[2]
    kinds = [re.sub(r":\[\d+\]", "", ours[number]) for number in sorted(ours)]
    lock = str(installation.state / "workers.lock")
    assert sorted(kinds) == sorted(["/dev/null", "anon_inode:[pidfd]", "pipe", "pipe", "socket", "socket", lock])


def test_a_program_that_a_task_starts_gets_no_descriptor_of_jobds(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "starts_a_program", "--once")
    file = installation.folder / "descriptors"
    until(file.exists)
    led = [line.split(" -> ")[-1] for line in file.read_text().splitlines() if " -> " in line]
    assert len([target for target in led if target.startswith("pipe:")]) == 1  # standard error
    assert not [target for target in led if "jobd.db" in target or target.startswith(("socket:", "anon_inode:"))]


def test_the_daemon_listens_on_no_port(installation: Installation) -> None:
    daemon = installation.foreground()
    mine = {target for pid in family(daemon.pid) for target in descriptors(pid).values()}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        if Path(f"/proc/net/{table}").exists():
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                assert f"socket:[{line.split()[9]}]" not in mine, line


def test_the_memory_of_the_daemon_is_closed_to_other_processes_of_its_user() -> None:
    code = "from jobd.daemon import prepare; import ctypes; prepare.tune_process(); print(ctypes.CDLL(None).prctl(3))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT) == b"0\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_task_cannot_read_the_environment_of_the_daemon(installation: Installation) -> None:
    installation.environ["JOBD_DATABASE"] = f"sqlite:///{installation.folder}/{SECRET}.db"
    installation.foreground()
    installation.fine("add", "spies", "--once")
    assert installation.ended("spies")[0]["result"] == "Permission denied"


# Secrets

WAYS = ("url", "password_file", "credential")


@pytest.fixture
def protected(mariadb: servers.Server, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """(URL with the user alone, name of the user) of a new MariaDB database that asks for a password."""
    url = mariadb.new_database()
    user = f"canary{os.getpid()}"
    mariadb.sql(f"CREATE USER {user} IDENTIFIED BY '{CANARY}'; GRANT ALL ON {url.rpartition('/')[2]}.* TO {user}")
    yield url.replace("//root@", f"//{user}@"), user
    mariadb.sql(f"DROP USER IF EXISTS {user}")


def give_password(installation: Installation, url: str, user: str, way: str) -> None:
    """Configure `installation` with the database and its password."""
    installation.configure('level = "trace"\n[history]\nkeep = "1d"\n')
    if way == "url":
        from urllib.parse import quote

        url = url.replace(user, f"{user}:{quote(CANARY)}")
    elif way == "password_file":
        (installation.folder / "password").write_text(CANARY + "\n")
        installation.environ["JOBD_PASSWORD_FILE"] = "password"
    else:
        folder = installation.folder / "credentials"
        folder.mkdir()
        (folder / "jobd-database-password").write_text(CANARY)
        installation.environ["CREDENTIALS_DIRECTORY"] = str(folder)
    installation.environ["JOBD_DATABASE"] = url
    installation.environ["JOBD_COMMANDS"] = "true"


def visible(processes: list[int]) -> list[bytes]:
    """The command lines of all of these processes, as the kernel and `ps` show them, and the tasks' environments."""
    shown = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes]
    shown += [Path(f"/proc/{pid}/environ").read_bytes() for pid in processes[1:]]
    return [*shown, subprocess.check_output(["ps", "-eo", "args", "-ww"])]


@pytest.mark.parametrize("way", WAYS)
def test_neither_the_password_nor_a_secret_argument_is_seen_anywhere(
    installation: Installation, mariadb: servers.Server, protected: tuple[str, str], way: str
) -> None:
    url, user = protected
    give_password(installation, url, user, way)
    seen: list[bytes] = []

    def do(*words: str) -> subprocess.CompletedProcess[str]:
        answer = installation.jobd(*words)
        seen.append((answer.stdout + answer.stderr).encode())
        return answer

    assert do("start").returncode == 0
    asked = subprocess.run(
        installation.command("add", "waits", "--once", "--secret-arg", "key"),
        env=installation.environ,
        input=f"{SECRET}\n{SECRET}\n",
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,  # no terminal: the value is read from standard input
        check=False,
    )
    assert asked.returncode == 0, asked
    seen.append((asked.stdout + asked.stderr).encode())
    until((installation.folder / "waiting").exists)
    pid = installation.status()["pid"]
    processes = family(pid)
    assert len(processes) > 2
    seen += visible(processes)
    sockets = [target for one in processes[1:] for target in descriptors(one).values() if "socket" in target]
    # One each to the daemon, and the lock of the node that the guardian holds too: none to the database.
    assert len(sockets) == len(processes)
    (installation.folder / "open").touch()
    installation.ended("waits")
    os.kill(pid, signal.SIGUSR1)
    jobs = '[job.waits]\nrunonce = true\nsecrets = ["key"]\nargs = {key = "other"}\n'
    (installation.folder / "jobs.toml").write_text(jobs)
    for words in (
        *(["status"], ["list"], ["show", "waits"], ["history", "waits"], ["next"], ["tasks"]),
        ["apply", "--dry-run", "jobs.toml"],
        *(["logs", "waits"], ["export"], ["systemd"], ["set", "waits", "--secret-arg", f"a b={SECRET}"]),
    ):
        do(*words)
        if words[0] not in ("logs", "export", "systemd", "set"):
            do(*words, "--json")
    assert "waits" in installation.fine("export")

    # the daemon loses its user, and says so; then every command meets a failing connect
    mariadb.sql(f"ALTER USER {user} ACCOUNT LOCK; KILL USER {user}")
    until(lambda: "locked" in installation.log() or "denied" in installation.log(), "the failing connect")
    installation.environ["JOBD_DEBUG"] = "1"
    assert do("list").returncode == 4
    assert do("add", "x", "--once", "--force").returncode == 4
    mariadb.sql(f"ALTER USER {user} IDENTIFIED BY 'another' ACCOUNT UNLOCK")
    assert do("list").returncode == 4
    do("stop", "--now")
    assert do("start", "--foreground").returncode == 4

    kept = [path for path in installation.state.rglob("*") if path.is_file()]
    assert {"jobd.log", "jobd.pid"} <= {path.name for path in kept}
    seen += [path.read_bytes() for path in kept]
    for needle in (CANARY, CANARY[:11], SECRET):
        assert not [text for text in seen if needle.encode() in text], needle


@pytest.mark.parametrize(
    "url",
    [
        "mysql://jobd:{}/x@host/d",
        "mysql://jobd:{}#x@host/d",
        "mysql://jobd:{}?x@host/d",
        "mysql://jobd:{}[x@host/d",
        "mysql://jobd:{}\u2100x@host/d",
        "mysql://jobd:12/{}@host",
        "mysql://jobd:12#{}@host/d",
        "postgresql://jobd:{}@localhost:1/d?sslmode=x",
        "postgresql://jobd@localhost:1/d?password={}&x=y",
        "mysql://jobd:{}@localhost:1/d",
        "mysql://jobd@localhost:1/d?password={}",
        "oracle://jobd:{}@host/d",
    ],
)
def test_an_error_about_a_database_url_does_not_show_its_password(installation: Installation, url: str) -> None:
    installation.environ["JOBD_DATABASE"] = url.format(SECRET)
    for words in (["list"], ["start", "--foreground"]):
        answer = installation.jobd(*words)
        assert answer.returncode in (4, 78)
        assert SECRET[:5] not in refused(answer, answer.returncode)


def test_a_listing_of_plugins_gets_no_more_of_the_environment_than_a_worker(
    installation: Installation,
) -> None:
    plugin = "\nopen(HOME + '/environ', 'w').write(repr(dict(os.environ)))\n"
    (installation.folder / "plugins" / "tasks.py").write_text(PLUGIN + plugin)
    installation.environ |= {"LISTEN_FDNAMES": CANARY, "CREDENTIALS_DIRECTORY": f"/{CANARY}"}
    installation.environ["JOBD_DATABASE"] = f"sqlite:///{CANARY}.db"
    installation.fine("tasks")
    assert CANARY not in (installation.folder / "environ").read_text()


# TLS


def certificates(folder: Path) -> None:
    """In `folder`: an authority (ca.pem), another one (wrong.pem), and a key and certificate for localhost."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "wrong"):
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN=The {name} authority"),
            *("-keyout", f"{name}.key", "-out", f"{name}.pem", "-addext", "keyUsage=keyCertSign"),
        )
    openssl(*("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=server", "-keyout", "key.pem", "-out", "request"))
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    openssl(
        *("x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"),
        *("-extfile", "names", "-out", "cert.pem"),
    )
    for path in folder.glob("*.pem"):
        path.chmod(0o600 if path.name == "key.pem" else 0o644)
        if os.geteuid() == 0:
            shutil.chown(path, folder.owner())


def with_tls(kind: str) -> Callable[[Path], list[str]]:
    def prepare(folder: Path) -> list[str]:
        certificates(folder)
        if kind == "mariadb":
            return [f"--ssl-ca={folder}/ca.pem", f"--ssl-cert={folder}/cert.pem", f"--ssl-key={folder}/key.pem"]
        files = {"ssl": "on", "ssl_cert_file": f"{folder}/cert.pem", "ssl_key_file": f"{folder}/key.pem"}
        return [word for name, value in files.items() for word in ("-c", f"{name}={value}")]

    return prepare


@pytest.fixture(scope="module", params=["mariadb", "postgresql"])
def tls_server(request: pytest.FixtureRequest) -> Iterator[tuple[str, servers.Server]]:
    if not shutil.which("openssl"):
        servers.missing("openssl", "apt-get install openssl")
    with servers.running(request.param, prepare=with_tls(request.param)) as server:
        yield request.param, server


def use(
    installation: Installation, url: str, options: str, host: str = "localhost"
) -> subprocess.CompletedProcess[str]:
    installation.environ["JOBD_DATABASE"] = url.replace("127.0.0.1", host) + "?" + options
    return installation.jobd("add", "x", "--once", "--force")


def test_tls_verifies_the_authority_and_the_name(
    installation: Installation, tls_server: tuple[str, servers.Server]
) -> None:
    kind, server = tls_server
    options = "sslmode=verify-full&sslrootcert={}" if kind == "postgresql" else "ssl_ca={}"
    right, wrong = (options.format(f"{server.folder}/{name}.pem") for name in ("ca", "wrong"))
    url = server.new_database()
    if kind == "mariadb":
        server.sql("CREATE USER tls REQUIRE SSL; GRANT ALL ON *.* TO tls")
        url = url.replace("root@", "tls@")
    assert "certificate" in refused(use(installation, url, wrong), 4)
    assert "certificate" in refused(use(installation, url, right, "127.0.0.1"), 4), "it is another host's"
    refused(use(installation, url, options.format("/no/such/file")), 4)
    answer = use(installation, url, right)
    assert answer.returncode == 0, answer
    assert installation.jobd("list").returncode == 0


@pytest.mark.parametrize("options", ["ssl_verify_identity=true", "ssl_verify_cert=1&ssl_verify_identity=on"])
def test_mariadb_is_verified_by_the_systems_authorities_when_none_is_named(
    installation: Installation, tls_server: tuple[str, servers.Server], options: str
) -> None:
    kind, server = tls_server
    if kind != "mariadb":
        pytest.skip("libpq has its own way")
    url = server.new_database()
    assert "certificate" in refused(use(installation, url, options), 4)
    installation.environ["SSL_CERT_FILE"] = f"{server.folder}/ca.pem"
    assert use(installation, url, options).returncode == 0
    assert "certificate" in refused(use(installation, url, options, "127.0.0.1"), 4), "it is another host's"


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_a_server_without_tls_is_refused_when_tls_is_required(installation: Installation, kind: str) -> None:
    mysql, libpq = ("tls=require", "ssl_verify_cert=true"), ("sslmode=require", "sslmode=verify-full")
    with servers.running(kind, ["--skip-ssl"] if kind == "mariadb" else []) as server:
        url = server.new_database()
        for option in mysql if kind == "mariadb" else libpq:
            assert "SSL" in refused(use(installation, url, option), 4)
        assert use(installation, url, "ssl_verify_cert=off" if kind == "mariadb" else "sslmode=prefer").returncode == 0


@pytest.mark.parametrize(
    "option", ["tls=requried", "tls=", "ssl_verify_cert=ture", "ssl_verify_identity=", "ssl_verfy=1"]
)
def test_a_misspelt_option_does_not_turn_tls_off(installation: Installation, option: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"mariadb://jobd@127.0.0.1:{nobody.getsockname()[1]}/jobd"
        assert option.partition("=")[0] in refused(use(installation, url, option), 78)
