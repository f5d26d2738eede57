"""A warm worker's next run finds the process as the first one did, without traces of the run before."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import LONG_TIMEOUT, Installation, until

PLUGIN = """
import json, os, resource, signal, sys, tempfile, time
import jobd

HOME = os.path.dirname(os.path.dirname(__file__))
LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]

def what_is():
    mask = os.umask(0o22); os.umask(mask)
    return {
        "directory": os.getcwd(),
        "umask": mask,
        "leaked": os.environ.get("LEAKED"),
        "of the import": os.environ.get("OF_THE_IMPORT"),
        "handler": signal.getsignal(signal.SIGTERM) is signal.SIG_IGN,
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "user": [os.getresuid(), os.getresgid(), os.getgroups()],
        "mask": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
        "limits": [resource.getrlimit(limit) for limit in LIMITS],
        "zone": [time.tzname, time.localtime(0)[:6]],
        "recursion": sys.getrecursionlimit(),
        "path": sys.path,
        "modules": {"os", "sys", "json", "jobd"} <= set(sys.modules),
        "output": sys.stdout is not None,
        "crowded": bool([os.close(number) for number in [os.dup(0)] if number > 64]),
    }

os.environ["OF_THE_IMPORT"] = "stays"
sys.path.append(HOME + "/lib")

@jobd.task
def remembers():
    with open(HOME + "/before", "w") as file:
        json.dump(what_is(), file)

@jobd.task
def looks():
    with open(HOME + "/before") as file:
        before = json.load(file)
    now = json.loads(json.dumps(what_is()))
    changed = {key: (before[key], now[key]) for key in before if before[key] != now[key]}
    assert not changed, changed

@jobd.task
def changes_directory():
    os.chdir("/")

@jobd.task
def removes_its_directory():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)

@jobd.task
def changes_its_process():
    os.umask(0); os.environ["LEAKED"] = "1"; os.nice(5)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    sys.stdout = sys.stderr = None

@jobd.task
def changes_user():
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)

@jobd.task
def changes_effective_user():
    if os.getuid() == 0:
        os.seteuid(65534)

@jobd.task
def changes_group():
    if os.getuid() == 0:
        os.setegid(65534)

@jobd.task
def changes_groups():
    if os.getuid() == 0:
        os.setgroups([65534])

@jobd.task
def blocks_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])

@jobd.task
def changes_a_limit():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))

@jobd.task
def changes_zone():
    os.environ["TZ"] = "Asia/Kolkata"
    time.tzset()
    del os.environ["TZ"]

@jobd.task
def changes_zone_and_leaves_it():
    os.environ["TZ"] = "Asia/Kolkata"
    time.tzset()

@jobd.task
def changes_recursion_limit():
    sys.setrecursionlimit(150)

@jobd.task
def changes_path():
    sys.path.insert(0, "/nowhere")

@jobd.task
def loses_path():
    sys.path = None

@jobd.task
def leaves_descriptors():
    for number in range(100):
        os.open("/dev/null", os.O_RDONLY)

@jobd.task
def uses_up_descriptors():
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
    except OSError:
        pass

@jobd.task
def clears_modules():
    sys.modules.clear()

@jobd.task
def loses_modules():
    sys.modules = {}
"""
LEAKS = [
    line.split()[1].removesuffix("():")
    for mark, line in zip(PLUGIN.split("\n"), PLUGIN.split("\n")[1:], strict=False)
    if mark == "@jobd.task" and line not in ("def remembers():", "def looks():")
]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One worker runs `remembers`, then each leak, and right after it `looks`."""
    installation = Installation(tmp_path_factory.mktemp("leaks") / "home", plugin=PLUGIN)
    installation.foreground()
    jobs, last = ['[job.first]\ntask = "remembers"\nrunonce = true\n'], "first"
    for leak in LEAKS:
        jobs.append(f'[job.{leak}]\nafter_jobs = ["{last}:finished"]\n')
        last = f"after_{leak}"
        jobs.append(f'[job.{last}]\ntask = "looks"\nafter_jobs = ["{leak}:finished"]\n')
    (installation.folder / "jobs.toml").write_text("".join(jobs))
    installation.fine("apply", "jobs.toml", "--yes")
    until(lambda: installation.history(last), last, LONG_TIMEOUT)
    yield installation
    installation.close()


@pytest.mark.parametrize("leak", LEAKS)
def test_the_next_run_finds_the_process_as_it_should_be(installation: Installation, leak: str) -> None:
    (run,) = installation.history(leak)
    assert run["outcome"] == "succeeded", run
    (follower,) = installation.history(f"after_{leak}")
    assert follower["outcome"] == "succeeded", follower


def test_runs_go_on_when_the_state_directory_is_moved(tmp_path: Path) -> None:
    moved = Installation(tmp_path / "moved", plugin=PLUGIN)
    try:
        moved.foreground()
        moved.fine("add", "remembers", "--every", "100ms")
        moved.ended("remembers", 1)
        moved.state.rename(moved.folder / "elsewhere")
        after = moved.history("remembers")[0]["run"]
        until(lambda: moved.history("remembers")[0]["run"] > after + 5, "more runs")
        moved.fine("add", "leaves_descriptors", "--once")  # its worker is replaced
        assert moved.ended("leaves_descriptors")[0]["outcome"] == "succeeded"
        after = moved.history("remembers")[0]["run"]
        until(lambda: moved.history("remembers")[0]["run"] > after + 5, "runs in a new worker")
        assert {run["outcome"] for run in moved.history("remembers")} == {"succeeded"}
    finally:
        moved.close()
