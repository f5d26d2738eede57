"""The quick path: it is taken, it loads little, and it answers as click does."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from jobd.cli import finish, group
from jobd.cli.group import COMMANDS
from jobd.cli.quick import NAMED, plain_completion, plain_list, quick
from tests.cli.conftest import Cli

SLOW = {"click", "zoneinfo", "urllib.parse", "json", "inspect", "difflib", "peewee", "jobd.lifecycle"}
NAMES = ("hello", "helper", "other job", "ümlaut", "a:b", "x,y")
Answers = tuple[tuple[int, bytes, bytes], tuple[int, bytes, bytes]]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A person with some jobs, one of them deleted. Nobody changes them."""
    jobd = Cli(tmp_path_factory.mktemp("named"))
    table = "".join(f'[job."{name}"]\ninterval = "1h"\n' for name in (*NAMES, "hellish"))
    jobd.fine("apply", "-", "--yes", stdin=table)
    jobd.fine("rm", "hellish")
    return jobd


@pytest.fixture
def both(
    named: Cli, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., Answers]:
    """What the two paths answer to words and an environment; the quick one is click itself where there is none."""
    monkeypatch.chdir(named.folder)
    monkeypatch.setenv("TZ", "Europe/Berlin")

    def answers(words: tuple[str, ...] = (), **env: str) -> Answers:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        argv = list(words)
        found = []
        for work in (quick(argv, os.environ), None):
            code = finish(work or (lambda: group.run(argv)))
            found.append((code, *capsysbinary.readouterr()))
        return found[0], found[1]

    return answers


def tab(line: str, at: int, shell: str = "bash") -> dict[str, str]:
    """The environment in which the shell asks."""
    return {"_JOBD_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": str(at)}


@pytest.mark.parametrize("command", [*COMMANDS, "nothing"])
def test_tab_after_each_command_answers_as_click_does(both: Callable[..., Answers], command: str) -> None:
    asked = tab(f"jobd\n{command}\nhel", 2)
    ours, clicks = both(**asked)
    assert ours == clicks
    if command in NAMED:
        assert plain_completion([], asked) == (None, "hel", "plain,{}")
        assert ours == (0, b"plain,hello\nplain,helper\n", b"")


@pytest.mark.parametrize(
    ("line", "at"),
    [
        ("jobd show ", 2),
        ("jobd show", 2),
        ("jobd show x", 2),
        ("jobd show nothing-like-it", 2),
        ("jobd show hello hel", 3),
        ("jobd rm hello hel", 3),
        ("jobd show -", 2),
        ("jobd show =", 2),
        ("jobd show =h", 2),
        ("jobd show a=h", 2),
        ("jobd show 'oth", 2),
        ("jobd show oth\\", 2),
        ("jobd show ü", 2),
        ("jobd show a:", 2),
        ("jobd -- show hel", 3),
        ("jobd show -- hel", 3),
        ("jobd --config jobd.toml show hel", 4),
        ("jobd --config missing.toml show hel", 4),
        ("jobd --config=jobd.toml show hel", 3),
        ("jobd --config show hel", 3),
        ("jobd --config", 1),
        ("jobd sho", 1),
        ("jobd show hel", 1),
        ("jobd show hel", 7),
        ("jobd run --wait hel", 3),
        ("jobd history -n hel", 3),
        ("jobd list hel", 2),
        ("\tjobd \t show\r\nhel", 2),
        ("jobd\x0bshow hel", 2),
        ("jobd\xa0show hel", 2),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_tab_answers_as_click_does(both: Callable[..., Answers], line: str, at: int, shell: str) -> None:
    ours, clicks = both(**tab(line, at, shell))
    assert ours == clicks


@pytest.mark.parametrize(
    ("name", "value"),
    [("JOBD_CONFIG", "missing"), ("JOBD_DATABASE", "sqlite:///missing.db"), ("JOBD_WORKERS", "none")],
)
def test_tab_is_silent_about_every_error(both: Callable[..., Answers], name: str, value: str) -> None:
    ours, clicks = both(**tab("jobd show h", 2), **{name: value})
    assert ours == clicks == (0, b"\n", b"")


def test_commands_that_click_may_parse_differently_are_left_to_it() -> None:
    asked = tab("jobd show h", 2)
    assert plain_completion([], asked) == (None, "h", "plain,{}")
    for env in ({"_JOBD_COMPLETE": "fish_complete"}, {"COMP_WORDS": "jobd show 'h"}, {"COMP_CWORD": "x"}):
        assert plain_completion([], asked | env) is None
    assert plain_completion(["show"], asked) is None
    assert plain_completion([], {}) is None
    assert plain_list(["list", "--help"]) is None
    assert plain_list(["list", "a", "b"]) is None
    assert plain_list(["--config", "F", "ls", "a", "--all"]) == ("F", "a", True, False)


LISTS = [(), ("--all",), ("hel",), ("hel*", "-a"), ("--json",), ("nobody",), ("x,y", "--json", "--all")]


@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_list_answers_as_click_does(both: Callable[..., Answers], words: tuple[str, ...]) -> None:
    ours, clicks = both(("list", *words))
    assert ours == clicks
    assert (ours[0], ours[2]) == (0, b"")


@pytest.mark.parametrize(
    ("words", "more", "needed"),
    [
        (["list"], {}, set()),
        (["list", "hello"], {}, set()),
        (["list", "--json"], {}, {"json"}),
        ([], tab("jobd show h", 2), set()),
    ],
)
def test_the_quick_path_loads_little(named: Cli, words: list[str], more: dict[str, str], needed: set[str]) -> None:
    program = "import sys, os; from jobd.__main__ import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=named.folder,
        env=named.env | more,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "hello" in done.stdout
    assert SLOW & set(done.stderr.split()) == needed


def test_a_long_list_is_one_json_document_with_a_job_on_each_line(jobd: Cli) -> None:
    jobd.fine("apply", "-", "--yes", stdin="".join(f'[job.j{n:04}]\ninterval = "1h"\n' for n in range(2_500)))
    jobd.sql("UPDATE job SET \"interval\" = '1 banana' WHERE name = 'j0007'")
    answer = jobd.fine("list", "--json")
    assert [job["name"] for job in answer.json] == [f"j{n:04}" for n in range(2_500)]
    assert [job["name"] for job in answer.json if "error" in job] == ["j0007"]
    assert answer.out.count("\n") == 2_500


def test_each_job_in_a_list_is_shown_with_its_own_options(jobd: Cli) -> None:
    options = ['args = {pin = "x", to = "ann"}\nsecrets = ["pin"]', "", 'args = {to = "ben"}', 'pool = "default"']
    table = "".join(f'[job.j{n}]\ntask = "hello"\ninterval = "1h"\n{options[n // 2]}\n' for n in range(8))
    jobd.fine("apply", "-", "--yes", stdin=table)
    listed = jobd.fine("list", "--json").json
    assert [job.get("args") for job in listed[::2]] == [{"pin": "***", "to": "ann"}, None, {"to": "ben"}, None]
    for job in listed:
        shown = jobd.fine("show", job["name"], "--json").json
        del shown["runs"]
        assert job == shown


def test_a_list_that_is_cut_off_in_the_middle_ends_as_it_should(named: Cli) -> None:
    read, write = os.pipe()
    os.close(read)
    for words in (["list"], ["list", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "jobd", *words],
            cwd=named.folder,
            env=named.env,
            stdout=write,
            stderr=subprocess.PIPE,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (141, b"")
    os.close(write)


def test_help_loads_neither_database_nor_configuration(named: Cli) -> None:
    program = (
        "import sys; from jobd.__main__ import run\n"
        f"for word in {[*COMMANDS]}:\n"
        "    assert run([word, '--help']) == 0\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=named.folder, env=named.env, capture_output=True, text=True, check=True
    )
    slow = {"peewee", "sqlite3", "tomllib", "difflib", "zoneinfo", "urllib.parse", "jobd.config", "jobd.store.store"}
    assert slow & set(done.stderr.split()) == set()
