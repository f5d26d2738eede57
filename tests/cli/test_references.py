"""Commands for jobs that run after others: removing, renaming, exporting. The rules are tested in tests/store."""

import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.cli.conftest import Cli

REPORT = ("--task", "hello")


@pytest.fixture
def family(jobd: Cli) -> Cli:
    """`p`, and `c` that runs after it."""
    jobd.fine("add", "p", *REPORT, "--every", "1h")
    jobd.fine("add", "c", *REPORT, "--after-job", "p")
    return jobd


def test_a_job_whose_predecessor_does_not_exist_is_shown_as_such_and_can_be_removed(family: Cli) -> None:
    family.fine("rm", "p", "--yes")
    line = next(line for line in family.fine("list").out.splitlines() if line.startswith("c "))
    assert "blocked" in line
    assert "it runs after 'p', which is deleted" in line
    assert "never runs by itself" in family.fine("show", "c").out
    assert family.fine("next", "c").out == "it runs after 'p', which is deleted, so it is never due\n"
    family.fine("set", "c", "--timeout", "1h")
    family.fine("pause", "c")
    family.fine("resume", "c")
    family.fine("add", "d", *REPORT, "--every", "1h")
    family.fine("rm", "d", "c")
    assert family.fine("list", "--json").json == []


def test_the_advice_for_a_blocked_job_can_be_copied_into_a_shell(jobd: Cli) -> None:
    jobd.fine("add", "the parent", *REPORT, "--every", "1h")
    jobd.fine("add", "it's", *REPORT, "--after-job", "the parent")
    jobd.fine("rm", "the parent", "--yes")
    said = re.findall("`jobd ([^`]*)`", jobd.fine("show", "it's").out)
    restore, change = (shlex.split(command) for command in said)
    assert restore == ["restore", "the parent"]
    assert change == ["set", "it's", "--after-job", "…"]


def test_a_parent_without_a_row_is_not_offered_for_restoring(family: Cli) -> None:
    family.sql("DELETE FROM job WHERE name = 'p'")
    shown = family.fine("show", "c").out
    assert "jobd set c --after-job" in shown
    assert "restore" not in shown


def test_rm_names_those_it_leaves_behind_and_needs_yes(family: Cli, refused: Callable[..., str]) -> None:
    assert "'c' runs after a job that is to be deleted" in refused("rm", "p", code=1)
    assert "--yes" in refused("rm", "p", code=1)
    answer = family.fine("rm", "p", "--yes")
    assert (answer.out, "'c' runs after" in answer.err) == ("deleted p\n", True)
    family.fine("restore", "p")
    assert family.fine("rm", "c", "p").err == ""


def test_rm_reports_that_a_requested_run_is_dropped(jobd: Cli) -> None:
    jobd.fine("add", "hello", "--cron", "0 0 1 1 *")
    jobd.fine("run", "hello")
    assert "the run of 'hello' that was requested is dropped" in jobd.fine("rm", "hello").err
    jobd.fine("restore", "hello")
    assert "-12-31T23:00:00" in jobd.fine("show", "hello", "--json").json["next_due"]
    assert "dropped" not in jobd.fine("rm", "hello").err


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 130)])
def test_rm_asks_at_a_terminal(family: Cli, typed: str, code: int) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "jobd", "rm", "p"],
        cwd=family.folder,
        env=family.env,
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(leader, typed.encode())
    out, err = process.communicate(timeout=30)
    os.close(leader)
    os.close(follower)
    assert process.returncode == code, err
    assert "'c' runs after" in err
    assert out == ("deleted p\n" if code == 0 else "")


def test_a_rename_reports_the_changed_references(family: Cli, refused: Callable[..., str]) -> None:
    family.fine("add", "hello", "--every", "1h")
    assert family.fine("rename", "hello", "greet").out == "renamed hello to greet; it runs the task hello\n"
    assert family.fine("rename", "p", "first", "--json").json["name"] == "first"
    assert family.fine("show", "c", "--json").json["after_jobs"] == ["first"]
    assert "exists already" in refused("rename", "first", "c", code=1)
    assert "did you mean 'first'?" in refused("rename", "firts", "x", code=1)
    refused("rename", "first", " x", code=2)
    refused("rename", "first", code=2)
    family.fine("rm", "greet")
    assert "`jobd rename greet OTHER` frees it" in refused("rename", "first", "greet", code=1)


@pytest.mark.parametrize("name", ["x:finished", "x:succeeded"])
def test_a_job_whose_name_looks_like_a_reference_can_be_run_after(jobd: Cli, name: str) -> None:
    jobd.fine("add", name, *REPORT, "--every", "1h")
    jobd.fine("add", "c", *REPORT, "--after-job", f"{name}:succeeded")
    jobd.fine("add", "d", *REPORT, "--after-job", f"{name}:finished")
    assert jobd.fine("show", "c", "--json").json["after_jobs"] == [f"{name}:succeeded"]
    text = jobd.fine("export").out
    assert jobd.fine("apply", "-", "--yes", stdin=text).out == "nothing to do\n"


def test_an_export_can_be_applied_to_an_empty_database(family: Cli) -> None:
    family.fine("rm", "p", "--yes")
    family.fine("add", "bad", *REPORT, "--every", "1h")
    family.fine("add", "worse", *REPORT, "--every", "1h")
    family.fine("add", "last", *REPORT, "--after-job", "worse")
    family.sql("UPDATE job SET \"interval\" = 'nonsense' WHERE name = 'bad'")
    family.sql("UPDATE job SET retry_times = -1 WHERE name = 'worse'")
    exported = family.fine("export")
    assert "'worse' is left out: retry_times is -1" in exported.err
    assert "'last' is left out: it runs after 'worse', which is left out" in exported.err
    config = family.folder / "jobd.toml"
    config.write_text(config.read_text().replace("jobd.db", "other.db"))
    family.fine("apply", "-", "--yes", stdin=exported.out)
    states = {job["name"]: job["state"] for job in family.fine("list", "--json").json}
    assert states == {"bad": "invalid", "c": "blocked"}
    assert family.fine("export").out == exported.out
    family.fine("restore", "p")
    assert family.fine("show", "c", "--json").json["state"] == "waiting"


def test_an_invalid_job_can_be_set_although_it_stays_invalid(jobd: Cli, refused: Callable[..., str]) -> None:
    jobd.fine("add", "x", *REPORT, "--every", "1h")
    jobd.sql("UPDATE job SET \"interval\" = 'nonsense' WHERE name = 'x'")
    answer = jobd.fine("set", "x", "--timeout", "1h")
    assert "'x' is still invalid" in answer.err
    refused("set", "x", "--interval", "other nonsense")
    assert "still" not in jobd.fine("set", "x", "--every", "2h").err


@pytest.mark.parametrize("name", ["a\nb", " x", "-x", "x\u200b", "re\u0301sume\u0301"])
def test_a_job_with_a_name_that_jobd_would_refuse_can_be_named(
    jobd: Cli, refused: Callable[..., str], name: str
) -> None:
    jobd.fine("add", "hello", "--every", "1h")
    jobd.sql("INSERT INTO job (name, \"interval\") VALUES (?, '1h')", name)
    assert "invalid" in jobd.fine("show", "--", name).out
    named = ["--", name] if name.startswith("-") else [name]
    jobd.fine("set", "--retry", "3", *named)
    jobd.fine("set", "--force", *named, "--", "/bin/true", "--", "-v")
    assert jobd.fine("show", "--json", "--", name).json["command"] == ["/bin/true", "--", "-v"]
    assert "cannot run" in refused("run", "--", name, code=1)
    assert "is not running" in refused("cancel", "--", name, code=1)
    assert jobd.fine("history", "--", name).out == "no runs yet\n"
    assert jobd.fine("logs", "--", name).out == ""
    assert jobd.fine("next", "--", name).out == "nothing is due\n"
    jobd.fine("pause", "--", name)
    jobd.fine("rm", "--yes", "--", name)
    jobd.fine("restore", "--", name)
    jobd.fine("rename", "--", name, "good")
    shown = jobd.fine("show", "good", "--json").json
    assert (shown["state"], shown["retry_times"]) == ("paused", 3)


def test_a_name_is_found_in_every_form(jobd: Cli) -> None:
    jobd.fine("add", "re\u0301sume\u0301", "--every", "1h", "--task", "hello")
    assert jobd.fine("show", "re\u0301sume\u0301", "--json").json["name"] == "r\u00e9sum\u00e9"


def test_tab_offers_every_name_but_those_that_would_control_the_terminal(jobd: Cli) -> None:
    jobd.fine("add", "hello", "--every", "1h")
    for name in ("x\u200b", "x y", "x\nplain,z", "x\x1b[2J", "x\x9bJ"):
        jobd.sql("INSERT INTO job (name, \"interval\") VALUES (?, '1h')", name)
    for line in ("jobd run x", "jobd run --wait x"):  # without click, and with it
        asked = {"_JOBD_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        assert sorted(jobd(**asked).out.splitlines()) == ["plain,x y", "plain,x\u200b"], line


def test_a_dry_run_refuses_what_apply_refuses_and_changes_nothing(jobd: Cli, refused: Callable[..., str]) -> None:
    jobd.fine("add", "x", *REPORT, "--every", "1h")
    (jobd.folder / "jobs.toml").write_text('[job.a]\nafter_jobs = ["b"]\n[job.b]\nafter_jobs = ["a"]\n')
    assert "would wait for itself" in refused("apply", "jobs.toml", "--dry-run")
    assert refused("apply", "jobs.toml", "--dry-run") == refused("apply", "jobs.toml", "--yes")
    (jobd.folder / "jobs.toml").write_text('[job.hello]\ninterval = "1h"\n')
    assert "hello" in jobd.fine("apply", "jobs.toml", "--dry-run").out
    assert [job["name"] for job in jobd.fine("list", "--json").json] == ["x"]
