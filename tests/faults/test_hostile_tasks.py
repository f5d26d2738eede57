"""Damage that a task does to its own process costs only its own run, and the history is true."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import LONG_TIMEOUT, Installation, until

PLUGIN = '''
import asyncio, ctypes, os, resource, signal, socket, subprocess, sys, threading, time
import jobd

def forever():
    while True:
        time.sleep(60)

HOME = os.path.dirname(os.path.dirname(__file__))

def note(name):
    with open(f"{HOME}/{name}", "a") as file:
        file.write(f"{os.getpid()}\\n")

@jobd.task
def healthy():
    """Runs all the time between the others and looks whether they have left anything behind."""
    mask = os.umask(0o22); os.umask(mask)
    assert os.getcwd() != "/" and mask and "LEAKED" not in os.environ
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert os.getpriority(os.PRIO_PROCESS, 0) == os.getpriority(os.PRIO_PROCESS, os.getppid())
    print("well")

@jobd.task
def raises():
    raise ValueError("no\\nsuch luck")

@jobd.task
def raises_what_cannot_be_shown():
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError("not even this")
    raise Odd

@jobd.task
def raises_what_exits_when_shown():
    class Odd(Exception):
        def __str__(self):
            raise SystemExit(3)
        __repr__ = __str__
    raise Odd

@jobd.task
def raises_what_has_hostile_attributes():
    class Meta(type):
        @property
        def __name__(cls):
            raise KeyboardInterrupt
        __module__ = __name__
    class Odd(Exception, metaclass=Meta):
        @property
        def __traceback__(self):
            raise KeyboardInterrupt
        __cause__ = __context__ = __notes__ = __traceback__
    raise Odd

@jobd.task
def raises_a_text_of_its_own_class():
    class Text(str):
        def split(self, *more):
            raise KeyboardInterrupt
        __getitem__ = __format__ = __len__ = split
    class Odd(Exception):
        def __str__(self):
            return Text("hostile")
    raise Odd

@jobd.task
def raises_a_name_of_many_lines():
    raise type("first\\nsecond" * 10_000, (Exception,), {})

@jobd.task
def raises_what_is_too_long():
    raise ValueError("\\U0001f4a5" * 5_000_000)

@jobd.task
def raises_a_group_of_groups():
    error = ValueError("innermost")
    for number in range(200):
        error = ExceptionGroup("\\U0001f4a5" * 3000, [error] * 2)
    raise error

@jobd.task
def raises_a_long_chain():
    error = None
    for number in range(5000):
        new = ValueError(f"link {number}")
        new.__cause__ = new.__context__ = error
        error = new
    raise error

@jobd.task
def exits_with_what_cannot_be_shown():
    class Odd:
        def __repr__(self):
            raise KeyboardInterrupt
    sys.exit(Odd())

@jobd.task
def exits_with_too_much():
    sys.exit("\\n\\x00\\ud800" * 1_000_000)

@jobd.task
def returns_what_cannot_be_read():
    class Odd(dict):
        def items(self):
            raise KeyboardInterrupt
    return Odd(a=1)

@jobd.task
def returns_too_much_without_output():
    os.close(1); os.close(2)
    return object()

@jobd.task
def raises_what_is_no_text():
    raise ValueError("\\ud800 \\0 \\x1b[2J")

@jobd.task
def returns_what_is_no_text():
    return "\\ud800\\0"

@jobd.task
def logs_what_is_no_text():
    import logging
    logging.getLogger().error("\\ud800\\0 \\x1b[2J")

@jobd.task
def exits():
    sys.exit(3)

@jobd.task
def interrupts():
    raise KeyboardInterrupt

@jobd.task
def leaves():
    os._exit(0)

@jobd.task
def segfaults():
    ctypes.string_at(0)

@jobd.task
def kills_itself():
    os.kill(os.getpid(), signal.SIGKILL)

@jobd.task
def kills_its_group():
    os.killpg(0, signal.SIGKILL)

@jobd.task
def hangs():
    forever()

@jobd.task
def hangs_and_will_not_hear():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    note("deaf")
    forever()

@jobd.task
def hangs_in_c():
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.valid_signals()) - {signal.SIGKILL})
    ctypes.CDLL(None).pause()

@jobd.task
def recurses():
    recurses()

@jobd.task
def eats_memory():
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    bytearray(2**31)

@jobd.task
def forks_and_both_return():
    os.fork()

@jobd.task
def forks_and_leaves_a_child():
    if os.fork() == 0:
        note("child")
        forever()
    while not os.path.exists(HOME + "/child"):
        time.sleep(0.01)

@jobd.task
def leaves_a_daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note("daemon")
            forever()
        os._exit(0)
    os.wait()
    while not os.path.exists(HOME + "/daemon"):
        time.sleep(0.01)

@jobd.task
def leaves_a_program():
    subprocess.Popen(["sleep", "1000"], start_new_session=True, env={})

@jobd.task
def prints_a_lot():
    line = "x" * 1023 + "\\n"
    for number in range(200 * 1024):
        sys.stdout.write(line)
    print("the end")

@jobd.task
def prints_one_endless_line():
    for number in range(3000):
        sys.stdout.write("y" * 1000)
    print("!")

@jobd.task
def prints_rubbish():
    os.write(1, bytes(range(256)) * 10)
    print("\\x1b[2J\\x1b]0;title\\x07 and \\u202e")

@jobd.task
def imitates_jobd():
    os.write(1, b"\\x1e{not json\\n\\x1e[1,2\\n\\x1e\\n")

@jobd.task
def closes_its_streams():
    sys.stdout.close(); sys.stderr.close()
    os.close(1); os.close(2)

@jobd.task
def closes_everything():
    os.closerange(0, 256)

@jobd.task
def talks_to_the_daemon():
    for number in range(3, 64):
        try:
            os.write(number, b"[\\"done\\", 1, 2\\n")
        except OSError:
            pass
    time.sleep(0.5)  # read before it has ended

def shut_down(how):
    for number in range(3, 64):
        try:
            socket.socket(fileno=os.dup(number)).shutdown(how)
        except OSError:
            pass

@jobd.task
def goes_deaf():
    shut_down(socket.SHUT_RD)

@jobd.task
def hangs_up():
    shut_down(socket.SHUT_RDWR)
    time.sleep(60)

@jobd.task
def changes_its_process():
    os.chdir("/"); os.umask(0); os.environ["LEAKED"] = "1"; os.nice(5)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    sys.stdout = sys.stderr = None

@jobd.task
def leaves_threads():
    threading.Thread(target=forever).start()

@jobd.task
def returns_too_much():
    return "z" * 10_000_000

@jobd.task
def returns_no_json():
    return {1: object()}

@jobd.task
def returns_itself():
    value = []
    value.append(value)
    return value

@jobd.task
async def waits():
    await asyncio.sleep(0.01)
    return "waited"

@jobd.task
async def waits_in_vain():
    await asyncio.sleep(3600)

@jobd.task
def wants(what):
    pass

@jobd.task
def stops_itself():
    os.kill(os.getpid(), signal.SIGSTOP)

@jobd.task
def kills_the_guardian():
    os.kill(os.getppid(), signal.SIGKILL)
    forever()

@jobd.task
def stops_the_guardian():
    os.kill(os.getppid(), signal.SIGSTOP)
    forever()
'''

# name: (outcome, what the error says)
CASES: dict[str, tuple[str, str]] = {
    "raises": ("failed", "ValueError: no such luck"),
    "raises_what_cannot_be_shown": ("failed", "Odd"),
    "raises_what_exits_when_shown": ("failed", "Odd: (its text cannot be shown)"),
    "raises_what_has_hostile_attributes": ("failed", "Odd"),
    "raises_a_text_of_its_own_class": ("failed", "Odd: hostile"),
    "raises_a_name_of_many_lines": ("failed", "first secondfirst second"),
    "raises_what_is_too_long": ("failed", "ValueError: \U0001f4a5\U0001f4a5"),
    "raises_a_group_of_groups": ("failed", "ExceptionGroup: \U0001f4a5\U0001f4a5"),
    "raises_a_long_chain": ("failed", "ValueError: link 4999"),
    "exits_with_what_cannot_be_shown": ("failed", "SystemExit: (its text cannot be shown)"),
    "exits_with_too_much": ("failed", "sys.exit('"),
    "returns_what_cannot_be_read": ("succeeded", ""),
    "returns_too_much_without_output": ("succeeded", ""),
    "raises_what_is_no_text": ("failed", "ValueError"),
    "returns_what_is_no_text": ("succeeded", ""),
    "logs_what_is_no_text": ("succeeded", ""),
    "exits": ("failed", "sys.exit(3)"),
    "interrupts": ("failed", "KeyboardInterrupt"),
    "leaves": ("failed", "exit code 0 before the task returned"),
    "segfaults": ("failed", "SIGSEGV"),
    "kills_itself": ("failed", "SIGKILL"),
    "kills_its_group": ("failed", "SIGKILL"),
    "hangs": ("timed_out", "timeout of 0.5 s"),
    "hangs_and_will_not_hear": ("timed_out", "timeout of 0.5 s"),
    "hangs_in_c": ("timed_out", "timeout of 0.5 s"),
    "recurses": ("failed", "RecursionError"),
    "eats_memory": ("failed", "MemoryError"),
    "forks_and_both_return": ("succeeded", ""),
    "forks_and_leaves_a_child": ("succeeded", ""),
    "leaves_a_daemon": ("succeeded", ""),
    "leaves_a_program": ("succeeded", ""),
    "prints_a_lot": ("succeeded", ""),
    "prints_one_endless_line": ("succeeded", ""),
    "prints_rubbish": ("succeeded", ""),
    "imitates_jobd": ("succeeded", ""),
    "closes_its_streams": ("succeeded", ""),
    "closes_everything": ("failed", ""),
    "talks_to_the_daemon": ("failed", "invalid message"),
    "goes_deaf": ("succeeded", ""),
    "hangs_up": ("failed", "closed its socket"),
    "changes_its_process": ("succeeded", ""),
    "leaves_threads": ("succeeded", ""),
    "returns_too_much": ("succeeded", ""),
    "returns_no_json": ("succeeded", ""),
    "returns_itself": ("succeeded", ""),
    "waits": ("succeeded", ""),
    "waits_in_vain": ("timed_out", "timeout of 0.5 s"),
    "wants": ("failed", "TypeError"),
    "stops_itself": ("timed_out", "timeout of 0.5 s"),
    "kills_the_guardian": ("failed", "SIGKILL"),
    "stops_the_guardian": ("timed_out", "timeout of 0.5 s"),
}
HANGS = {name for name, (outcome, _) in CASES.items() if outcome == "timed_out"}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("hostile") / "home", plugin=PLUGIN)
    installation.configure("", workers=4)
    installation.foreground()
    jobs = [f"[job.{name}]\nrunonce = true\n" + ('timeout = "500ms"\n' if name in HANGS else "") for name in CASES]
    (installation.folder / "jobs.toml").write_text("".join(jobs) + '[job.healthy]\ninterval = "20ms"\n')
    installation.fine("apply", "jobs.toml", "--yes")
    yield installation
    installation.close()


def descendants_of_workers() -> set[int]:
    """Every process that has a worker among its ancestors, however it tried to hide; zombies do not count."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if b"JOBD_WORKER=1" in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_task_costs_its_own_run_only(installation: Installation, name: str) -> None:
    outcome, error = CASES[name]
    (run,) = installation.ended(name, patience=LONG_TIMEOUT)
    assert run["outcome"] == outcome, run
    assert error in (run["error"] or ""), run
    assert "\n" not in (run["error"] or "")


def test_other_jobs_are_not_affected(installation: Installation) -> None:
    for name in CASES:
        installation.ended(name, patience=LONG_TIMEOUT)
    last = installation.history("healthy")[0]["run"]
    until(lambda: installation.history("healthy")[0]["run"] > last + 10, "ten more runs")
    assert {run["outcome"] for run in installation.history("healthy")} == {"succeeded"}
    assert installation.processes[0].poll() is None


def test_output_is_bounded_and_its_end_is_kept(installation: Installation) -> None:
    installation.ended("prints_a_lot"), installation.ended("prints_rubbish")
    text = installation.fine("logs", "prints_a_lot")
    assert text.endswith("the end\n")
    assert len(text) < 80 * 1024
    assert text.startswith("[jobd: 20")  # so many bytes were cut
    assert text.count("[jobd: ") == 1
    assert "\x1b" not in installation.fine("logs", "prints_rubbish")
    assert "\x1b" not in installation.log()


def test_nothing_that_hostile_tasks_started_survives(installation: Installation) -> None:
    for name in ("forks_and_leaves_a_child", "leaves_a_daemon", "leaves_a_program"):
        installation.ended(name, patience=LONG_TIMEOUT)
    alive = [
        Path(f"/proc/{pid}/cmdline").read_bytes() for name in ("child", "daemon") for pid in left(installation, name)
    ]
    assert not alive
    installation.processes[0].kill()
    installation.processes[0].wait()
    until(
        lambda: not [pid for pid in descendants_of_workers() if in_folder(pid, installation.folder)], "the end of all"
    )


def left(installation: Installation, name: str) -> list[str]:
    return [pid for pid in (installation.folder / name).read_text().split() if Path(f"/proc/{pid}").exists()]


def in_folder(pid: int, folder: Path) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd").startswith(str(folder))
    except OSError:
        return False
