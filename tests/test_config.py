"""jobd.toml: found, overridden, completed, and refused with file, line and key."""

import os
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pytest

from jobd import config, template
from jobd.clock import DAY, HOUR, MILLISECOND, SECOND
from jobd.config import load
from jobd.config_keys import KEYS, MAX_WORKERS, has_zone_file
from jobd.errors import ConfigError
from jobd.settings import HistorySettings, LogSettings


def write(folder: Path, text: str) -> str:
    path = folder / "jobd.toml"
    path.write_text(text)
    return str(path)


def refusal(folder: Path, text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text), environ or {})
    assert caught.value.exit_code == 78
    return str(caught.value)


def test_an_empty_file_is_a_working_configuration(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ""), {})
    assert settings.database == f"sqlite:///{tmp_path}/jobd.db"
    assert settings.plugins == f"{tmp_path}/plugins"
    assert settings.state_dir == f"{tmp_path}/state"
    assert 2 <= settings.pools["default"] <= MAX_WORKERS
    assert (settings.poll, settings.lease, settings.stop_timeout) == (SECOND, 30 * SECOND, 60 * SECOND)
    assert settings.commands is True
    assert settings.history.keep == 30 * DAY
    assert settings.history.output == 64 * 1024


def test_every_key_is_read(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("secret\n")
    settings = load(
        write(
            tmp_path,
            """
            database = "mariadb://jobd@db/jobd"
            password_file = "pw"
            plugins = "/opt/plugins"
            state_dir = "../state"
            workers = 3
            timezone = "Europe/Berlin"
            commands = true
            poll = "20ms"
            lease = "5s"
            stop_timeout = "2s"
            on_db_loss = "kill"
            [log]
            level = "debug"
            format = "json"
            context = true
            file = "log/jobd.log"
            rotation = "1d"
            retention = "30d"
            [history]
            keep = "1h"
            keep_per_job = 5
            output = 1000
            [pool."my reports"]
            workers = 4
            [defaults]
            timeout = "1h"
            backoff = "1s"
            backoff_max = "10s"
            catch_up = "all"
            grace = "1h"
            retry_times = 3
            on_lost = "fail"
            isolation = "fresh"
            """,
        ),
        {},
    )
    assert settings.password == "secret"
    assert settings.plugins == "/opt/plugins"
    assert settings.state_dir == str(tmp_path.parent / "state")
    assert settings.pools == {"default": 3, "my reports": 4}
    assert settings.timezone == "Europe/Berlin"
    assert settings.poll == 20 * MILLISECOND
    assert settings.on_db_loss == "kill"
    assert settings.log == LogSettings("debug", "json", True, f"{tmp_path}/log/jobd.log", "1d", "30d")
    assert settings.history == HistorySettings(HOUR, 5, 1000)
    assert settings.defaults.timeout == HOUR
    assert settings.retry_times == 3
    assert settings.defaults.isolation == "fresh"


def test_programs_on_a_shared_database_need_the_explicit_setting(tmp_path: Path) -> None:
    assert load(write(tmp_path, 'database = "mysql://u@h/d"'), {}).commands is False


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[log]\nformat = "text"\n[pool.Reports]\nworkers = 1')
    environ = {
        "JOBD_LOG__FORMAT": "json",
        "JOBD_LOG__CONTEXT": "true",
        "JOBD_WORKERS": "7",
        "JOBD_LOG__RETENTION": "3",
        "JOBD_DATABASE": "sqlite:////var/x.db",
        "JOBD_POOL__REPORTS__WORKERS": "2",
        "JOBD_POOL__NEW__WORKERS": "3",
        "JOBD_DEBUG": "1",
    }
    settings = load(path, environ)
    assert (settings.log.format, settings.log.context, settings.log.retention) == ("json", True, 3)
    assert settings.database == "sqlite:////var/x.db"
    assert settings.pools == {"default": 7, "Reports": 2, "new": 3}


def test_a_mistake_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    assert "$JOBD_WORKERS: workers: invalid value 'x': " in refusal(tmp_path, "", {"JOBD_WORKERS": "x"})
    assert "$JOBD_LOG__FROMAT" in refusal(tmp_path, "", {"JOBD_LOG__FROMAT": "json"})


def test_an_unknown_key_names_the_nearest_with_file_and_line(tmp_path: Path) -> None:
    message = refusal(tmp_path, '\n[log]\nlevle = "info"')
    assert message == f"{tmp_path}/jobd.toml:3: log.levle: there is no such key; did you mean log.level?"


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, 'databse = "x"\nworkers = "4"\n[log]\nformat = "xml"\n[histroy]\nkeep = "1d"')
    for part in ("4 mistakes", "toml:1: databse", "toml:2: workers", "toml:4: log.format", "toml:6: histroy.keep"):
        assert part in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("workers = 0", "from 1 to"),
        ("workers = true", "from 1 to"),
        ("commands = 1", "true or false"),
        ("poll = 1", "duration in quotes"),
        ('poll = "10ms"', "at least 20ms"),
        ('poll = "8s"', "a quarter"),
        ('lease = "4s"', "at least 5s"),
        ('timezone = "Mars/Base"', "no such time zone"),
        ('timezone = "../../etc/passwd"', "no such time zone"),
        ('timezone = "localtime"', "no such time zone"),
        ('timezone = "Factory"', "no such time zone"),
        ('timezone = "right/UTC"', "no such time zone"),
        ('on_db_loss = "panic"', "finish, kill"),
        ("[log]\nlevel = 3", "trace, debug"),
        ('[log]\nrotation = "often"', "10MiB"),
        ('[history]\noutput = "1GiB"', "8MiB"),
        ("[pool.default]\nworkers = 2", "top-level"),
        ("[pool.a]\nworkers = 160", "all pools together"),
        ("[pool.a]\nworker = 2", "did you mean"),
        ("log = 3", "it is a table of"),
        ("plugins = ''", "not empty"),
        ("plugins = 3", "text in quotes"),
        ("password_file = 'missing'", "cannot read"),
    ],
)
def test_the_error_of_a_wrong_value_lists_the_allowed_ones(tmp_path: Path, text: str, part: str) -> None:
    assert part in refusal(tmp_path, text)


def test_a_syntax_error_names_the_line(tmp_path: Path) -> None:
    assert "line 2" in refusal(tmp_path, "workers = 2\nworkers 3")


def test_a_missing_file_points_to_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(str(tmp_path / "none.toml"), {})
    assert caught.value.hint == "run `jobd init`"


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jobd.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(str(tmp_path / "jobd.toml"), {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root refuses it")
def test_root_refuses_a_file_that_other_users_can_write(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    os.chmod(path, 0o666)
    with pytest.raises(ConfigError, match="world-writable"):
        load(path, {})


def test_the_file_is_searched_in_the_current_folder_then_in_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, personal, named = tmp_path / "here", tmp_path / "xdg" / "jobd", tmp_path / "named"
    for folder in (here, personal, named):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    with pytest.raises(ConfigError) as caught:
        load(None, environ)
    assert caught.value.hint == "run `jobd init`"
    expected = write(personal, "")
    assert load(None, environ).path == expected
    expected = write(here, "")
    assert load(None, environ).path == expected
    expected = write(named, "")
    assert load(None, {**environ, "JOBD_CONFIG": expected}).path == expected
    assert load("jobd.toml", environ).path == str(here / "jobd.toml")


def test_the_password_may_be_a_credential_of_the_unit(tmp_path: Path) -> None:
    (tmp_path / config.CREDENTIAL).write_text("from systemd")
    settings = load(write(tmp_path, ""), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.password == "from systemd"


def test_the_state_directory_of_the_unit_is_used_unless_the_file_names_one(tmp_path: Path) -> None:
    environ = {"STATE_DIRECTORY": "/var/lib/jobd:/var/lib/other"}
    assert load(write(tmp_path, ""), environ).state_dir == "/var/lib/jobd"
    assert load(write(tmp_path, 'state_dir = "here"'), environ).state_dir == f"{tmp_path}/here"


def test_a_password_in_the_url_is_never_shown(tmp_path: Path) -> None:
    assert "p@ss" not in refusal(tmp_path, 'database = "mysql://me:p@ss@host/db"\nx = 1')


def test_a_folder_with_reserved_characters_can_hold_the_database(tmp_path: Path) -> None:
    folder = tmp_path / "100%?#"
    folder.mkdir()
    assert load(write(folder, ""), {}).database == f"sqlite:///{tmp_path}/100%25%3F%23/jobd.db"


def test_the_file_of_init_loads_and_every_commented_key_exists(tmp_path: Path) -> None:
    load(write(tmp_path, template.CONFIG), {})
    (tmp_path / "...").touch()
    uncommented = "\n".join(
        line.removeprefix("# ") if "=" in line or line.startswith("# [") else line
        for line in template.CONFIG.splitlines()[3:]
    )
    load(write(tmp_path, uncommented), {})
    for name in KEYS:
        assert name.rpartition(".")[2] + " =" in template.CONFIG
    system = load(write(tmp_path, template.config_for("/etc/jobd")), {})
    assert (system.state_dir, system.database) == ("/var/lib/jobd", "sqlite:////var/lib/jobd/jobd.db")


def test_the_configuration_in_the_repository_differs_from_that_of_init_in_the_keys_of_a_log_line() -> None:
    text = (Path(config.__file__).parents[1] / "jobd.toml").read_text()
    assert text == template.EXAMPLE
    assert [line.split()[:3] for line in set(text.splitlines()) ^ set(template.CONFIG.splitlines())] in (
        [["context", "=", "true"], ["context", "=", "false"]],
        [["context", "=", "false"], ["context", "=", "true"]],
    )


def test_the_installed_configuration_logs_the_job_of_each_printed_line(tmp_path: Path) -> None:
    assert load(write(tmp_path, template.config_for("/etc/jobd")), {}).log.context


def test_the_installed_configuration_allows_programs_unless_the_database_is_shared(tmp_path: Path) -> None:
    text = template.config_for("/etc/jobd")
    assert load(write(tmp_path, text), {}).commands
    shared = text.replace("sqlite:////var/lib/jobd/jobd.db", "postgresql://jobd@host/jobd")
    assert not load(write(tmp_path, shared), {}).commands


def test_the_documentation_names_every_key_and_default() -> None:
    text = (Path(config.__file__).parents[1] / "docs/configuration.md").read_text()
    for name in KEYS:
        table, _, key = name.rpartition(".")
        shown = f"[{table}] {key}" if table else key
        assert f"`{shown}`" in text or f"`{key}`" in text, name


NO_ZONES = ["Europe//Berlin", "Europe/Berlin/", "./UTC", "/etc/localtime", "Europe/../UTC", "Europe", "tzdata.zi", ".."]


@pytest.mark.parametrize("name", [*NO_ZONES, "x" * 300, "\udcff"])
def test_a_zone_that_zoneinfo_refuses_is_found_in_no_folder(name: str) -> None:
    assert not has_zone_file(name)


def test_every_zone_that_a_folder_has_is_one_to_zoneinfo() -> None:
    found = [name for name in available_timezones() if has_zone_file(name)]
    assert {name: ZoneInfo(name).key for name in found} == {name: name for name in found}
