"""Output of a run is kept and logged with that run and with no other.

A real daemon runs at a rate at which orders are prefetched, with every way to print and to end.
"""

import json
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.installation import LONG_TIMEOUT, Installation, until

PLUGIN = r'''
import ctypes, json, logging, os, signal, subprocess, sys, threading, time
import jobd

def me():
    run = jobd.current_run()
    return f"<{run.job}#{run.run}.{run.attempt}>"

@jobd.task
def says():
    print(me())

@jobd.task
def silent():
    pass

@jobd.task
def logs():
    print(me(), end="")
    logging.getLogger("x").warning(me())
    logging.getLogger("x").info("é" * 9_000 + me())

@jobd.task
def mixed():
    """Without ends of lines, through every door."""
    print(me(), end="")
    os.write(1, me().encode())
    sys.stderr.write(me())
    subprocess.run(["/bin/echo", "-n", me()])

@jobd.task
def in_c():
    ctypes.CDLL(None).printf(me().encode())

@jobd.task
def much():
    sys.stdout.write("x" * 300_000 + me())

@jobd.task
def binary():
    os.write(1, b"\x1e\0jobd \xff" + me().encode() + b"\x1einfo {}\n\x1e\0jobd " + b"0" * 32 + b"\n\xc3")

@jobd.task
def forges():
    os.write(1, b"\x1einfo " + b"[" * 4_000 + b"\n\x1ewrong \"a\"\n\x1eerror " + json.dumps(me()).encode() + b"\n")

@jobd.task
def retries():
    print(me())
    if jobd.current_run().attempt < 3:
        raise ValueError(me())

@jobd.task
def exits():
    print(me(), flush=True)
    os._exit(3)

@jobd.task
def is_killed():
    os.write(1, me().encode())
    os.kill(os.getpid(), signal.SIGKILL)

@jobd.task
def leaves_a_child():
    """It goes on printing, and has left the session."""
    there = f"{me()[1:-1]} has printed"
    again = f"echo \"{me()}\"; echo \"{me()}\"; : > \"{there}\"; while :; do echo \"{me()}\"; done"
    subprocess.Popen(["/bin/sh", "-c", f"setsid sh -c '{again}' &"])
    while not os.path.exists(there):
        time.sleep(0.01)

@jobd.task
def leaves_a_thread():
    text = me().encode() + b"\n"
    def go_on():
        while True:
            os.write(1, text)
            time.sleep(0.0001)
    threading.Thread(target=go_on, daemon=True).start()
    time.sleep(0.01)

@jobd.task
def closes():
    os.write(1, me().encode())
    os.close(1)
    os.close(2)

@jobd.task
def replaces():
    os.write(1, me().encode())
    os.dup2(os.open("replaced", os.O_CREAT | os.O_RDWR, 0o600), 1)
    print("nowhere")

@jobd.task
def reads_only():
    os.write(1, me().encode())
    os.dup2(os.open("/proc/self/fd/1", os.O_RDONLY), 1)

@jobd.task
def does_not_block():
    os.set_blocking(1, False)
    os.write(1, me().encode())

@jobd.task
def steals():
    print(me())
    reader = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.read(reader, 100_000)
    except BlockingIOError:
        pass
    os.close(reader)
    print(me())
'''
EXACTLY = {  # what is kept of a run, when `{0}` stands for who it is; what is not here is looked at below
    "says": "{0}\n", "silent": "", "mixed": "{0}{0}{0}{0}\n", "in_c": "{0}\n",
    "logs": "{0}\n{0}\n" + "é" * 9_000 + "{0}\n",
    "binary": "\x1e\ufffdjobd \ufffd{0}\x1einfo {{}}\n\x1e\ufffdjobd " + "0" * 32 + "\n\ufffd\n",
    "forges": "\x1einfo " + "[" * 4_000 + '\n\x1ewrong "a"\n{0}\n', "exits": "{0}\n", "is_killed": "{0}\n",
    "closes": "{0}\n", "replaces": "{0}\n", "reads_only": "{0}\n", "does_not_block": "{0}\n",
}  # fmt: skip
CUT = re.compile(r"\[jobd: [\d,]+ bytes of output before this were cut\]\n")
QUICK = ("says", "silent", "mixed", "logs", "in_c", "binary", "forges", "does_not_block", "much")
ROUGH = (
    "exits", "is_killed", "leaves_a_child", "leaves_a_thread", "closes", "replaces", "reads_only", "steals",
)  # fmt: skip
WHO = re.compile(r"<\w+#\d+\.\d+>")


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path / "home", plugin=PLUGIN)
    made.configure("context = true\n[history]\nkeep_per_job = 100000\noutput = 65536\n", workers=2)
    yield made
    made.close()


def define(installation: Installation, jobs: dict[str, str]) -> None:
    """Enter a job of each name with these lines of a job file."""
    text = "".join(f"[job.{name}]\n{lines}\n" for name, lines in jobs.items())
    (installation.folder / "jobs.toml").write_text(text)
    installation.fine("apply", str(installation.folder / "jobs.toml"), "--yes")


def rows(installation: Installation, sql: str) -> list[Any]:
    with closing(sqlite3.connect(installation.folder / "jobd.db")) as database:
        return database.execute(sql).fetchall()


def ran(installation: Installation, runs: int) -> dict[str, str]:
    """What is kept of each attempt, by who it is, when so many runs are recorded."""
    daemon = installation.foreground()
    until(lambda: rows(installation, "SELECT count(*) FROM run")[0][0] >= runs, f"{runs} runs", LONG_TIMEOUT)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait() == 0
    recorded = "SELECT name, number, attempts FROM run JOIN job ON job.id = job_id WHERE outcome <> 'lost'"
    kept = {
        f"<{name}#{number}.{attempt + 1}>": ""
        for name, number, most in rows(installation, recorded)
        for attempt in range(most)
    }
    for name, number, attempt, text in rows(
        installation,
        "SELECT name, number, attempt, text FROM output JOIN job ON job.id = job_id ORDER BY 1, 2, 3, part",
    ):
        if (who := f"<{name}#{number}.{attempt}>") in kept:
            kept[who] += text
    return kept


def nothing_is_mixed(installation: Installation, kept: dict[str, str]) -> None:
    """No run is shown with what another printed, in the history and in the daemon's log."""
    for who, text in kept.items():
        assert set(WHO.findall(text)) <= {who}, (who, text[-300:])
    for line in (installation.folder / "log").read_text().splitlines():
        logged = json.loads(line)
        for who in WHO.findall(logged["msg"]):
            assert who.startswith(f"<{logged.get('job')}#{logged.get('run')}."), line
    marked = [text for who, text in kept.items() if "jobd " in text and not who.startswith("<binary")]
    assert marked == []


@pytest.mark.parametrize("count", [20, 200])
def test_each_run_has_exactly_its_own_lines_at_any_rate(installation: Installation, count: int) -> None:
    define(installation, {f"job{number}": 'task = "says"\ninterval = "1s"' for number in range(count)})
    kept = ran(installation, 6 * count)
    assert {who: text for who, text in kept.items() if text != f"{who}\n"} == {}
    nothing_is_mixed(installation, kept)


def test_each_way_to_print_beside_all_others_is_kept_exactly(installation: Installation) -> None:
    jobs = {f"{QUICK[number % len(QUICK)]}_{number}": 'interval = "500ms"' for number in range(90)}
    define(installation, {name: f'task = "{name.rpartition("_")[0]}"\n{lines}' for name, lines in jobs.items()})
    kept = ran(installation, 900)
    for who, text in kept.items():
        kind = who[1:].partition("#")[0].rpartition("_")[0]
        if kind == "much":
            assert text.endswith(f"x{who}\n")
            assert CUT.search(text) or len(text) == 300_000 + len(who) + 1
            assert set(CUT.sub("", text)[: -len(who) - 1]) == {"x"}  # a run of more than 1 s is kept in several parts
        else:
            assert text == EXACTLY[kind].format(who), who
    nothing_is_mixed(installation, kept)


def test_output_before_a_hard_end_is_kept_with_its_run_and_with_no_other(
    installation: Installation,
) -> None:
    jobs = {f"says_{number}": 'interval = "200ms"' for number in range(60)}
    jobs |= {f"retries_{number}": 'interval = "1s"\nretry_times = 2' for number in range(10)}
    jobs |= {f"{kind}_0": 'interval = "4s"' for kind in ROUGH}
    define(installation, {name: f'task = "{name.rpartition("_")[0]}"\n{lines}' for name, lines in jobs.items()})
    kept = ran(installation, 500)
    nothing_is_mixed(installation, kept)
    for who, text in kept.items():
        kind = who[1:].partition("#")[0].rpartition("_")[0]
        if kind in EXACTLY and "[jobd: " not in text:  # else the thief was at it
            assert text == EXACTLY[kind].format(who), who
        if kind == "retries":
            assert text.startswith(f"{who}\n")
            assert ("Traceback" in text) == (not who.endswith(".3>"))
    assert any(who.startswith("<leaves_a_child") and text.count(who) > 1 for who, text in kept.items())
