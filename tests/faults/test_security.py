"""Who may read, write and see what: files, links, passwords, processes, descriptors, ports and TLS, for real."""

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
from tests.house import ROOT, House, until
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
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "house", plugin=PLUGIN)
    yield house
    house.close()


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


def test_what_jobd_makes_is_its_users_alone_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    house = House(tmp_path / "house", plugin=PLUGIN)
    shutil.rmtree(house.folder)
    subprocess.run(
        [sys.executable, "-m", "jobd", "init", str(house.folder / "within")], env=house.environ, check=True, timeout=60
    )
    folder = house.folder / "within"
    house.folder, house.state = folder, folder / "deep" / "state"
    (folder / "plugins" / "tasks.py").touch(0o644)
    (folder / "plugins" / "tasks.py").write_text(PLUGIN)
    house.environ |= {"JOBD_STATE_DIR": "deep/state", "JOBD_LOG__ROTATION": "2KiB"}
    try:
        house.fine("add", "prints", "--once")
        house.fine("start")
        house.ended("prints")
        house.fine("export", "--output", str(folder / "jobs.toml"))
        found = modes(folder)
    finally:
        house.close()
    private = {"jobd.db", "jobd.db-wal", "jobd.db-shm", "deep/state"}
    private |= {f"deep/state/{name}" for name in ("jobd.pid", "jobd.sock", "jobd.log", "instance", "begun")}
    private |= {name for name in found if re.fullmatch(r"deep/state/jobd\..+\.log", name)}
    assert list(house.state.glob("jobd.*.log")), "no log was rotated"
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
    house: House, tmp_path: Path, link: str, code: int, content: str | None
) -> None:
    victim = tmp_path / "victim"
    if content is not None:
        victim.write_text(content)
        victim.chmod(0o644)
    if link.startswith("state/"):
        house.state.mkdir(0o700)
    (house.folder / link).symlink_to(victim)
    if link == "elsewhere.log":
        house.environ["JOBD_LOG__FILE"] = link
    detached = link == "state/jobd.log"
    if code:
        message = refused(house.jobd("start", *([] if detached else ["--foreground"])), code)
        assert str(house.folder / link).removesuffix(".new") in message
    else:
        house.fine("start")
        house.fine("stop")
    assert victim.exists() is (content is not None)
    if content is not None:
        assert (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)) == (content, 0o644)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("victim-")] == []


@pytest.mark.parametrize("words", [["list"], ["add", "x", "--once", "--", "true"], ["start", "--foreground"]])
def test_a_database_that_is_a_link_is_not_followed(house: House, words: list[str]) -> None:
    (house.folder / "jobd.db").symlink_to(house.folder / "victim")
    assert "is a symbolic link" in refused(house.jobd(*words), 78)


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_links_beside_the_database_are_not_followed(house: House, suffix: str) -> None:
    house.fine("add", "x", "--once", "--", "true")
    victim = house.folder / "victim"
    victim.write_text(VICTIM)
    link = house.folder / f"jobd.db{suffix}"
    link.unlink(missing_ok=True)
    link.symlink_to(victim)
    refused(house.jobd("add", "y", "--once", "--", "true"), 4)
    assert victim.read_text() == VICTIM


def test_a_folder_that_holds_other_things_does_not_become_the_state_directory(house: House) -> None:
    (house.folder / "etc").mkdir(0o755)
    (house.folder / "etc" / "passwd").write_text(VICTIM)
    house.state.symlink_to("etc")
    assert "contains other files" in refused(house.jobd("start", "-f"), 78)
    assert modes(house.folder)["etc"] == 0o755
    assert os.listdir(house.folder / "etc") == ["passwd"]


@as_root
def test_the_state_directory_of_another_user_is_not_used(house: House) -> None:
    house.state.mkdir(0o700)
    os.chown(house.state, 65534, 65534)
    assert "belongs to another user" in refused(house.jobd("start", "-f"), 78)


@as_root
@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["stop"], ["restart"], ["reload"]])
def test_a_state_directory_that_is_closed_to_this_user_is_named_with_its_owner(house: House, words: list[str]) -> None:
    house.state.mkdir(0o700)
    os.chown(house.state, 65534, 65534)
    # Root without the right to pass over permissions: any other user could not run this Python.
    ordinary = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    done = subprocess.run(
        [*ordinary, *house.command(*words)], cwd=house.folder, env=house.environ, capture_output=True, text=True
    )
    message = refused(done, 1)
    assert f"state directory {house.state} is closed to this user" in message
    assert "sudo -u nobody jobd" in message


@as_root
@pytest.mark.parametrize("name", ["jobd.toml", "plugins", "plugins/tasks.py", "plugins/package/inner.py"])
def test_root_refuses_what_anybody_can_write(house: House, name: str) -> None:
    (house.folder / "plugins" / "package").mkdir()
    (house.folder / "plugins" / "package" / "inner.py").touch()
    (house.folder / "plugins" / "tasks.py").write_text(PLUGIN + "open(HOME + '/imported', 'w')\n")
    path = house.folder / name
    path.chmod(path.stat().st_mode | 0o002)
    toml = 78 if name == "jobd.toml" else 2
    for words, code in ((["start", "-f"], 78), (["tasks"], 78), (["add", "prints", "--once"], toml)):
        message = refused(house.jobd(*words), code)
        assert "world-writable" in message
        assert str(path) in message
    assert not (house.folder / "imported").exists()


@as_root
def test_a_reload_refuses_a_plugin_that_anybody_can_write_by_now(house: House) -> None:
    house.foreground()
    (house.folder / "plugins" / "tasks.py").chmod(0o666)
    assert "is world-writable" in refused(house.jobd("reload"), 1)
    assert house.status()["state"] == "running"


@as_root
@pytest.mark.parametrize("how", ["file", "link"])
def test_a_configuration_that_another_user_has_put_into_a_shared_folder_is_not_taken(house: House, how: str) -> None:
    shared = house.folder / "tmp"
    shutil.copytree(house.folder / "plugins", shared / "plugins")
    shared.chmod(0o1777)
    if how == "file":
        shutil.copy(house.folder / "jobd.toml", shared)
    else:
        (shared / "jobd.toml").symlink_to(house.folder / "jobd.toml")
    os.chown(shared / "jobd.toml", 65534, 65534, follow_symlinks=False)
    command = [sys.executable, "-m", "jobd", "tasks"]
    run: Callable[..., Any] = subprocess.run
    options = {"cwd": shared, "env": house.environ, "capture_output": True, "text": True, "timeout": 60}
    told = refused(run(command, **options), 78)
    assert how == "link" or "belongs to another user" in told  # such a link the kernel may keep us from following
    os.chown(shared / "jobd.toml", 0, 0, follow_symlinks=False)
    assert run(command, **options).returncode == 0


# Processes


def test_a_worker_has_only_its_own_descriptors(house: House) -> None:
    daemon = house.foreground()
    house.fine("add", "waits", "--once")
    until((house.folder / "waiting").exists)
    guardian, worker = family(daemon.pid)[1:]
    ours, theirs = descriptors(guardian), descriptors(worker)
    (house.folder / "open").touch()
    kinds = [re.sub(r":\[\d+\]", "", theirs[number]) for number in sorted(theirs)]
    memory = "/memfd:jobd (deleted)"  # its own ring
    looked_at = ("status", "oom_score_adj", "cgroup", "personality", "timers", "loginuid")  # its own, after runs
    own = [f"/proc/{worker}/{name}" for name in looked_at]
    assert sorted(kinds) == sorted(["/dev/null", "pipe", "pipe", "socket", memory, str(house.state), *own])
    assert theirs[1] == theirs[2]
    kinds = [re.sub(r":\[\d+\]", "", ours[number]) for number in sorted(ours)]
    lock = str(house.state / "workers.lock")
    assert sorted(kinds) == sorted(["/dev/null", "anon_inode:[pidfd]", "pipe", "pipe", "socket", "socket", lock])


def test_a_program_that_a_task_starts_gets_no_descriptor_of_jobds(house: House) -> None:
    house.foreground()
    house.fine("add", "starts_a_program", "--once")
    file = house.folder / "descriptors"
    until(file.exists)
    led = [line.split(" -> ")[-1] for line in file.read_text().splitlines() if " -> " in line]
    assert len([target for target in led if target.startswith("pipe:")]) == 1  # standard error
    assert not [target for target in led if "jobd.db" in target or target.startswith(("socket:", "anon_inode:"))]


def test_the_daemon_listens_on_no_port(house: House) -> None:
    daemon = house.foreground()
    mine = {target for pid in family(daemon.pid) for target in descriptors(pid).values()}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        if Path(f"/proc/net/{table}").exists():
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                assert f"socket:[{line.split()[9]}]" not in mine, line


def test_the_memory_of_the_daemon_is_closed_to_other_processes_of_its_user() -> None:
    code = "from jobd.daemon import prepare; import ctypes; prepare.tune_process(); print(ctypes.CDLL(None).prctl(3))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT) == b"0\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_task_cannot_read_the_environment_of_the_daemon(house: House) -> None:
    house.environ["JOBD_DATABASE"] = f"sqlite:///{house.folder}/{SECRET}.db"
    house.foreground()
    house.fine("add", "spies", "--once")
    assert house.ended("spies")[0]["result"] == "Permission denied"


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


def give_password(house: House, url: str, user: str, way: str) -> None:
    """Configure `house` with the database and its password."""
    house.configure('level = "trace"\n[history]\nkeep = "1d"\n')
    if way == "url":
        from urllib.parse import quote

        url = url.replace(user, f"{user}:{quote(CANARY)}")
    elif way == "password_file":
        (house.folder / "password").write_text(CANARY + "\n")
        house.environ["JOBD_PASSWORD_FILE"] = "password"
    else:
        folder = house.folder / "credentials"
        folder.mkdir()
        (folder / "jobd-database-password").write_text(CANARY)
        house.environ["CREDENTIALS_DIRECTORY"] = str(folder)
    house.environ["JOBD_DATABASE"] = url
    house.environ["JOBD_COMMANDS"] = "true"


def visible(processes: list[int]) -> list[bytes]:
    """The command lines of all of these processes, as the kernel and `ps` show them, and the tasks' environments."""
    shown = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes]
    shown += [Path(f"/proc/{pid}/environ").read_bytes() for pid in processes[1:]]
    return [*shown, subprocess.check_output(["ps", "-eo", "args", "-ww"])]


@pytest.mark.parametrize("way", WAYS)
def test_neither_the_password_nor_a_secret_argument_is_seen_anywhere(
    house: House, mariadb: servers.Server, protected: tuple[str, str], way: str
) -> None:
    url, user = protected
    give_password(house, url, user, way)
    seen: list[bytes] = []

    def do(*words: str) -> subprocess.CompletedProcess[str]:
        answer = house.jobd(*words)
        seen.append((answer.stdout + answer.stderr).encode())
        return answer

    assert do("start").returncode == 0
    asked = subprocess.run(
        house.command("add", "waits", "--once", "--secret-arg", "key"),
        env=house.environ,
        input=f"{SECRET}\n{SECRET}\n",
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,  # no terminal: the value is read from standard input
        check=False,
    )
    assert asked.returncode == 0, asked
    seen.append((asked.stdout + asked.stderr).encode())
    until((house.folder / "waiting").exists)
    pid = house.status()["pid"]
    processes = family(pid)
    assert len(processes) > 2
    seen += visible(processes)
    sockets = [target for one in processes[1:] for target in descriptors(one).values() if "socket" in target]
    # One each to the daemon, and the lock of the node that the guardian holds too: none to the database.
    assert len(sockets) == len(processes)
    (house.folder / "open").touch()
    house.ended("waits")
    os.kill(pid, signal.SIGUSR1)
    jobs = '[job.waits]\nrunonce = true\nsecrets = ["key"]\nargs = {key = "other"}\n'
    (house.folder / "jobs.toml").write_text(jobs)
    for words in (
        *(["status"], ["list"], ["show", "waits"], ["history", "waits"], ["next"], ["tasks"]),
        ["apply", "--dry-run", "jobs.toml"],
        *(["logs", "waits"], ["export"], ["systemd"], ["set", "waits", "--secret-arg", f"a b={SECRET}"]),
    ):
        do(*words)
        if words[0] not in ("logs", "export", "systemd", "set"):
            do(*words, "--json")
    assert "waits" in house.fine("export")

    # the daemon loses its user, and says so; then every command meets a failing connect
    mariadb.sql(f"ALTER USER {user} ACCOUNT LOCK; KILL USER {user}")
    until(lambda: "locked" in house.log() or "denied" in house.log(), "the failing connect")
    house.environ["JOBD_DEBUG"] = "1"
    assert do("list").returncode == 4
    assert do("add", "x", "--once", "--force").returncode == 4
    mariadb.sql(f"ALTER USER {user} IDENTIFIED BY 'another' ACCOUNT UNLOCK")
    assert do("list").returncode == 4
    do("stop", "--now")
    assert do("start", "--foreground").returncode == 4

    kept = [path for path in house.state.rglob("*") if path.is_file()]
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
def test_a_database_url_that_fails_does_not_tell_its_password(house: House, url: str) -> None:
    house.environ["JOBD_DATABASE"] = url.format(SECRET)
    for words in (["list"], ["start", "--foreground"]):
        answer = house.jobd(*words)
        assert answer.returncode in (4, 78)
        assert SECRET[:5] not in refused(answer, answer.returncode)


def test_what_loads_plugins_for_a_list_gets_no_more_of_the_environment_than_a_worker(house: House) -> None:
    plugin = "\nopen(HOME + '/environ', 'w').write(repr(dict(os.environ)))\n"
    (house.folder / "plugins" / "tasks.py").write_text(PLUGIN + plugin)
    house.environ |= {"LISTEN_FDNAMES": CANARY, "CREDENTIALS_DIRECTORY": f"/{CANARY}"}
    house.environ["JOBD_DATABASE"] = f"sqlite:///{CANARY}.db"
    house.fine("tasks")
    assert CANARY not in (house.folder / "environ").read_text()


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


def use(house: House, url: str, options: str, host: str = "localhost") -> subprocess.CompletedProcess[str]:
    house.environ["JOBD_DATABASE"] = url.replace("127.0.0.1", host) + "?" + options
    return house.jobd("add", "x", "--once", "--force")


def test_tls_verifies_the_authority_and_the_name(house: House, tls_server: tuple[str, servers.Server]) -> None:
    kind, server = tls_server
    options = "sslmode=verify-full&sslrootcert={}" if kind == "postgresql" else "ssl_ca={}"
    right, wrong = (options.format(f"{server.folder}/{name}.pem") for name in ("ca", "wrong"))
    url = server.new_database()
    if kind == "mariadb":
        server.sql("CREATE USER tls REQUIRE SSL; GRANT ALL ON *.* TO tls")
        url = url.replace("root@", "tls@")
    assert "certificate" in refused(use(house, url, wrong), 4)
    assert "certificate" in refused(use(house, url, right, "127.0.0.1"), 4), "it is another host's"
    refused(use(house, url, options.format("/no/such/file")), 4)
    answer = use(house, url, right)
    assert answer.returncode == 0, answer
    assert house.jobd("list").returncode == 0


@pytest.mark.parametrize("options", ["ssl_verify_identity=true", "ssl_verify_cert=1&ssl_verify_identity=on"])
def test_mariadb_is_verified_by_the_systems_authorities_when_none_is_named(
    house: House, tls_server: tuple[str, servers.Server], options: str
) -> None:
    kind, server = tls_server
    if kind != "mariadb":
        pytest.skip("libpq has its own way")
    url = server.new_database()
    assert "certificate" in refused(use(house, url, options), 4)
    house.environ["SSL_CERT_FILE"] = f"{server.folder}/ca.pem"
    assert use(house, url, options).returncode == 0
    assert "certificate" in refused(use(house, url, options, "127.0.0.1"), 4), "it is another host's"


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_a_server_without_tls_is_refused_when_tls_is_required(house: House, kind: str) -> None:
    mysql, libpq = ("tls=require", "ssl_verify_cert=true"), ("sslmode=require", "sslmode=verify-full")
    with servers.running(kind, ["--skip-ssl"] if kind == "mariadb" else []) as server:
        url = server.new_database()
        for option in mysql if kind == "mariadb" else libpq:
            assert "SSL" in refused(use(house, url, option), 4)
        assert use(house, url, "ssl_verify_cert=off" if kind == "mariadb" else "sslmode=prefer").returncode == 0


@pytest.mark.parametrize(
    "option", ["tls=requried", "tls=", "ssl_verify_cert=ture", "ssl_verify_identity=", "ssl_verfy=1"]
)
def test_a_misspelt_option_does_not_turn_tls_off(house: House, option: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"mariadb://jobd@127.0.0.1:{nobody.getsockname()[1]}/jobd"
        assert option.partition("=")[0] in refused(use(house, url, option), 78)
