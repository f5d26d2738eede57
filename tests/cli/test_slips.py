"""The daemon finds mistakes in a job's task, arguments and program when the job is added."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.installation import Installation

PLUGIN = """
import functools, jobd

@jobd.task
def send_mail(to, copies=1): pass

@jobd.task
def nothing(): pass

@jobd.task
def anything(first, **more): pass

def decorated(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return function("session", *args, **kwargs)
    return call

@jobd.task
@decorated
def daily(session, day): pass
"""
Refused = Callable[..., str]


@pytest.fixture
def mailer(jobd: Cli) -> Cli:
    (jobd.folder / "plugins" / "mail.py").write_text(PLUGIN)
    return jobd


# Arguments

WRONG = [
    (("--task", "send_mail", "--arg", "too=bob"), "takes no argument 'too'; did you mean to?"),
    (("--task", "send_mail", "--arg", "copies=2"), "needs the argument 'to'; give --arg to="),
    (("--task", "send_mail"), "needs the argument 'to'"),
    (("--task", "nothing", "--arg", "x=1"), "takes no argument 'x'; it takes none"),
    (("--task", "anything", "--arg", "x=1"), "needs the argument 'first'"),
    (("--task", "mail:send_mail", "--arg", "to=bob", "--arg", "from=eve"), "takes no argument 'from'; it takes to, co"),
    (("--task", "mail:send_male",), "there is no function 'send_male' in plugins/mail.py"),
]  # fmt: skip
RIGHT = [
    ("--task", "send_mail", "--arg", "to=bob"),
    ("--task", "send_mail", "--arg", "to=bob", "--arg", "copies=2"),
    ("--task", "anything", "--arg", "first=1", "--arg", "x=1"),
    ("--task", "daily", "--arg", "day=1"),
    ("--task", "mail:nothing",),
    ("--task", "send_mail", "--arg", "too=bob", "--force"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "why"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_arguments_that_a_task_does_not_take_are_refused(
    mailer: Cli, refused: Refused, words: tuple[str, ...], why: str
) -> None:
    assert why in refused("add", "x", "--every", "1h", *words)


@pytest.mark.parametrize("words", RIGHT, ids=" ".join)
def test_arguments_that_it_may_take_are_taken(mailer: Cli, words: tuple[str, ...]) -> None:
    assert mailer.fine("add", "x", "--every", "1h", *words).err == ""


def test_only_a_change_of_task_arguments_or_command_is_checked(mailer: Cli, refused: Refused) -> None:
    mailer.fine("add", "x", "--task", "send_mail", "--every", "1h", "--force")
    mailer.fine("set", "x", "--retry", "2")
    assert "needs the argument 'to'" in refused("set", "x", "--arg", "copies=2")
    mailer.fine("set", "x", "--arg", "to=bob")
    assert "needs the argument 'to'" in refused("set", "x", "--no-arg", "to")
    assert "takes no argument 'to'" in refused("set", "x", "--task", "nothing")
    mailer.fine("set", "x", "--task", "nothing", "--no-arg", "to")


@pytest.mark.parametrize("option", ["--retry", "--priority"])
def test_a_zero_is_a_change(mailer: Cli, option: str) -> None:
    mailer.fine("add", "nothing", "--every", "1h", option, "3")
    mailer.fine("set", "nothing", option, "0")


@pytest.mark.parametrize(("option", "column"), [("--retry", "retry_times"), ("--priority", "priority")])
def test_the_word_default_resets_a_number(mailer: Cli, option: str, column: str) -> None:
    config = mailer.folder / "jobd.toml"
    config.write_text(config.read_text() + "\n[defaults]\nretry_times = 2\n")
    for verb in (("add", "nothing", "--every", "1h"), ("set", "nothing")):
        mailer.fine(*verb, option, "default")
        assert mailer.fine("show", "nothing", "--json").json.get(column) == (2 if option == "--retry" else None)
        mailer.fine("set", "nothing", option, "7")


@pytest.mark.parametrize("option", ["--retry", "--priority"])
@pytest.mark.parametrize("value", ["x", "1.5", "", "1" * 5_000, "٣"])
def test_what_is_no_number_is_refused_with_the_option(mailer: Cli, refused: Refused, option: str, value: str) -> None:
    mailer.fine("add", "nothing", "--every", "1h")
    assert option in refused("set", "nothing", option, value)


# Programs

SHELL = [
    (("cd", "/", "&&", "ls", "my file"), "'&&' is only a word", "cd / && ls 'my file'"),
    (("pg_dump", "app", "|", "gzip", ">", "out"), "'|' is only a word", "pg_dump app | gzip > out"),
    (("echo", "x", "2>&1"), "'2>&1' is only a word", "echo x 2>&1"),
    (("cd", "/tmp"), "no program 'cd'", "cd /tmp"),
    (("cd / && ls",), "no program 'cd / && ls'", "cd / && ls"),
    (("A=1", "env"), "no program 'A=1'", "A=1 env"),
]


@pytest.mark.parametrize(("words", "what", "line"), SHELL, ids=[words[0] for words, *_ in SHELL])
def test_words_for_a_shell_are_warned_of_with_the_rewrite(
    jobd: Cli, words: tuple[str, ...], what: str, line: str
) -> None:
    import shlex

    for verb in (("add", "x", "--every", "1h"), ("set", "x")):
        said = jobd.fine(*verb, "--", *words).err
        assert said.startswith("jobd: warning: ")
        assert what in said
        _, rewrite = said.strip().split("write -- ")
        assert shlex.split(rewrite) == ["sh", "-c", line] or shlex.split(rewrite)[2].split() == line.split()


def test_a_program_that_is_not_there_is_warned_of(jobd: Cli) -> None:
    said = jobd.fine("add", "x", "--every", "1h", "--", "no-such-program").err
    assert said == "jobd: warning: there is no program 'no-such-program' here\n"
    for word in ("/bin/sh", "true"):
        assert jobd.fine("set", "x", "--", word, "a;b", "*").err == ""


def test_a_program_is_not_taken_for_the_name_that_was_forgotten(jobd: Cli) -> None:
    jobd.fine("add", "hello", "--every", "1h")
    answer = jobd("set", "--every", "2h", "--", "hello")
    assert (answer.code, "missing argument 'NAME'" in answer.err) == (2, True), answer.err
    assert jobd.sql('SELECT "interval" FROM job') == [("1h",)]


# As the daemon sees it

OURS = "import os, jobd\nopen('marker')\nos.environ['API_KEY']\n@jobd.task\ndef ours(n=1): pass\n"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A daemon that has the variable, the file and the PATH that its plugin and program need; its shell has not."""
    installation = Installation(tmp_path)
    (installation.folder / "plugins" / "ours.py").write_text(OURS)
    (installation.folder / "bin").mkdir()
    (installation.folder / "bin" / "our-program").write_text("#!/bin/sh\n")
    (installation.folder / "bin" / "our-program").chmod(0o755)
    installation.state.mkdir(mode=0o700)
    (installation.state / "jobd.pid").touch()
    (installation.state / "marker").touch()
    outside = dict(installation.environ)
    installation.environ |= {"API_KEY": "x", "PATH": f"{installation.folder}/bin:{outside['PATH']}"}
    installation.foreground()
    installation.environ = outside
    yield installation
    installation.close()


def test_the_daemon_is_asked_for_its_tasks_and_programs(installation: Installation) -> None:
    answer = installation.jobd("tasks", "--json")
    assert '"ours"' in answer.stdout
    assert (answer.stderr, 'error":"' in answer.stdout) == ("", False)
    installation.fine("add", "ours", "--every", "1h")
    installation.fine("add", "full", "--task", "ours:ours", "--every", "1h")
    assert (
        "takes no argument 'm'" in installation.jobd("add", "more", "--task", "ours", "--once", "--arg", "m=1").stderr
    )
    assert installation.jobd("add", "program", "--every", "1h", "--", "our-program").stderr == ""
    said = installation.jobd("add", "other", "--every", "1h", "--", "other-program").stderr
    assert said == "jobd: warning: there is no program 'other-program' for the daemon\n"


def test_without_a_daemon_the_message_names_the_shell_as_its_source(installation: Installation) -> None:
    installation.fine("stop")
    answer = installation.jobd("tasks")
    assert answer.stdout.endswith(
        "no daemon answers, so the plugins were loaded here, with this shell's environment and user\n"
    )
    assert "KeyError" in answer.stdout
    assert "no daemon answers" in installation.jobd("tasks", "--json").stderr
    answer = installation.jobd("add", "ours", "--every", "1h")
    assert answer.returncode == 2
    assert "no daemon answers" in answer.stderr


def test_a_task_that_the_daemon_cannot_load_is_refused_with_the_reason(installation: Installation) -> None:
    (installation.state / "marker").unlink()
    answer = installation.jobd("add", "ours", "--every", "1h")
    assert answer.returncode == 2
    assert "plugins/ours.py did not load: FileNotFoundError" in answer.stderr
