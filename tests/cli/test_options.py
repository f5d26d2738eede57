"""The table of options is all that an option of a job needs, beside its field."""

import shutil
import subprocess
import sys
from typing import Any

import click
import pytest

from jobd import option_kinds
from jobd.cli.apply import apply
from jobd.cli.jobs import add
from jobd.job import PLAIN, Options, check_options
from jobd.options import OPTION_TABLE
from jobd.store import rows, schema
from tests.cli.conftest import ROOT, Cli

ROWS = """
    Option("weight", Count(0, 9), 10, "--weight", "N", "How heavy it is."),
    Option("owner", Text("the owner", 40), 10, "--owner", "NAME", "Who wants it.", default_key=True),
    Option("patience", Duration(none=True), 10, "--patience", "D", "How long it waits.", default_key=True),
    Option("mood", Choice("good", "bad"), 10, "--mood", help="How it feels.", default_key=True),
    Option("until", Moment(), 10, "--until", "TIME", "When it ends."),
    Option("loud", Flag(), 10, "--loud", help="Whether it is heard."),
    Option("tags", Texts(), 10),
""".replace("10", str(schema.VERSION + 1))
FIELDS = """
    weight: int = 0
    owner: str | None = None
    patience: int | None = None
    mood: str | None = None
    until: int | None = None
    loud: bool = False
    tags: tuple[str, ...] = ()
"""
GIVEN = [
    "--weight",
    "3",
    "--owner",
    "Ada",
    "--patience",
    "90s",
    "--mood",
    "bad",
    "--until",
    "2030-01-01T00:00Z",
    "--loud",
]
SHOWN = {
    "weight": 3,
    "owner": "Ada",
    "patience": "1m30s",
    "mood": "bad",
    "until": "2030-01-01T00:00:00.000000Z",
    "loud": True,
}


@pytest.fixture
def extended(jobd: Cli) -> Cli:
    """jobd with further options: a copy in which only the table and `job.Options` differ. Its database is older."""
    jobd.fine("add", "old", "--every", "1h", "--task", "hello", "--pool", "default", "--paused")
    shutil.copytree(ROOT / "jobd", jobd.folder / "jobd", ignore=shutil.ignore_patterns("__pycache__"))
    for file, before, new in (("options.py", '    Option("paused"', ROWS), ("job.py", "    paused: bool", FIELDS)):
        path = jobd.folder / "jobd" / file
        text = path.read_text()
        assert text.count(before) == 1
        path.write_text(text.replace(before, new.strip("\n") + "\n" + before))
    jobd.env["PYTHONPATH"] = str(jobd.folder)
    return jobd


def options_of(jobd: Cli, name: str) -> dict[str, Any]:
    document = jobd.fine("show", name, "--json").json
    return {key: document[key] for key in (*SHOWN, "tags") if key in document}


def test_a_row_of_the_table_and_a_field_make_an_option(extended: Cli) -> None:
    added = extended.fine("add", "new", "--every", "1h", "--task", "hello", *GIVEN)
    assert "added new" in added.out
    assert options_of(extended, "new") == SHOWN
    assert options_of(extended, "old") == {}
    assert "owner" in extended.fine("show", "new").out
    extended.fine("set", "old", "--owner", "Bob", "--patience", "none")
    assert options_of(extended, "old") == {"owner": "Bob", "patience": "none"}
    extended.fine("set", "new", "--owner", "default", "--patience", "default", "--mood", "default", "--no-loud")
    assert options_of(extended, "new") == {"weight": 3, "until": SHOWN["until"]}
    for words in (("--weight", "10"), ("--owner", "x" * 41), ("--mood", "odd"), ("--patience", "-1s")):
        refused = extended("set", "new", *words)
        assert refused.code == 2, refused
        assert len(refused.err.splitlines()) <= 2


def test_a_new_option_passes_through_a_job_file_unchanged(extended: Cli) -> None:
    extended.fine("add", "new", "--every", "1h", "--task", "hello", *GIVEN)
    written = extended.fine("export").out
    assert 'patience = "1m30s"\n' in written
    written += 'tags = ["a", "b"]\n'  # `new` is the first table, `old` the last
    written = written.replace('owner = "Ada"', 'owner = "Eve"')
    extended.fine("apply", "-", "--yes", stdin=written)
    assert options_of(extended, "new") == SHOWN | {"owner": "Eve"}
    assert options_of(extended, "old") == {"tags": ["a", "b"]}
    assert "nothing to do" in extended.fine("apply", "-", "--yes", stdin=extended.fine("export").out).out
    assert "tags" in extended.fine("apply", "--help").out
    assert "--weight" in extended.fine("add", "--help").out


def test_a_new_option_may_have_a_default_in_the_configuration(extended: Cli) -> None:
    configuration = extended.folder / "jobd.toml"
    plain = configuration.read_text()
    configuration.write_text(plain + '[defaults]\nowner = "Ops"\npatience = "5s"\nmood = "good"\n')
    code = (
        "from jobd.config import load; from jobd.definition import effective; from jobd.job import Options;"
        "defaults = load('jobd.toml', {}).defaults; found = effective(Options(mood='bad'), defaults);"
        "print(found.owner, found.patience, found.mood)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=extended.folder, env=extended.env, capture_output=True)
    assert done.stdout == b"Ops 5000000 bad\n", done.stderr
    configuration.write_text(plain + '[defaults]\nmood = "odd"\n')
    assert "give one of: good, bad" in extended("list").err


def test_the_fields_of_a_job_are_the_rows_of_the_table() -> None:
    assert Options._fields == tuple(option.name for option in OPTION_TABLE)


def test_each_default_that_is_configured_is_an_option_that_may_be_unset() -> None:
    for option in OPTION_TABLE:
        assert not option.default_key or getattr(PLAIN, option.name) is None, option
        if isinstance(option.kind, option_kinds.Choice):
            assert all(len(word) <= 8 for word in option.kind.words), option


def test_the_help_of_apply_names_every_key() -> None:
    assert apply.epilog is not None
    assert all(option.name in apply.epilog for option in OPTION_TABLE)


def test_options_survive_their_row() -> None:
    options = Options(
        task="t", args={"a": [1, None], "ключ": "v"}, secrets=("ключ",), timeout=0, starts=86_400_000_000, paused=True
    )
    columns = rows.options_row(check_options(options))
    job, problem = rows.read_job((1, "job", 0, 0, "1h", None, None, None, 0, *columns))
    assert problem is None
    assert job is not None
    assert job.options == options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", "none"),
        ("backoff", "none"),
        ("backoff_max", "1h"),
        ("catch_up", "once"),
        ("on_lost", "rerun"),
        ("isolation", "warm"),
        ("priority", "0"),
    ],
)
def test_the_help_of_an_option_ends_with_its_built_in_value(name: str, value: str) -> None:
    (option,) = [one for one in add.params if one.name == name]
    record = option.get_help_record(click.Context(add))
    assert record is not None
    assert record[1].endswith(f" Default: {value}.")


def test_the_help_of_an_option_without_a_built_in_value_names_none() -> None:
    (option,) = [one for one in add.params if one.name == "grace"]
    assert option.get_help_record(click.Context(add)) == ("--grace D", "Skip a due time that is more than D late.")
