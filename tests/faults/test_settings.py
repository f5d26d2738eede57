"""Settings of a run in its interpreter or its process are reset before the next run.

Each row sets something, and tells by an expression that all is well. The row is run by a plugin that has imported all
modules beforehand, and by one whose runs import them. A run that a warm worker puts right stays in its process; one
marked REPLACED costs it, and the next run is in a new one.
"""

# ruff: noqa: E501 - a row is one line, or three
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Installation

Seen = dict[str, dict[str, Any]]

MODULES = (
    "asyncio", "builtins", "calendar", "codecs", "copyreg", "csv", "ctypes", "decimal", "faulthandler", "fcntl",
    "ftplib", "gc", "gettext", "http.client", "imaplib", "io", "json", "locale", "logging", "logging.config", "mimetypes",
    "multiprocessing", "os", "poplib", "random", "resource", "signal", "smtplib", "socket", "ssl", "subprocess", "sys",
    "syslog", "tempfile", "threading", "time", "tracemalloc", "urllib.request", "warnings", "contextvars", "loguru",
    "functools", "pathlib", "stat", "queue", "select",
)  # fmt: skip
PLUGIN = """
import jobd
{imports}
try:
    VARIABLE = contextvars.ContextVar("variable", default="as it was")
except NameError:
    import contextvars
    VARIABLE = contextvars.ContextVar("variable", default="as it was")
    del contextvars

from time import monotonic as MONOTONIC
ENDED, SEEN = [0.0], []

def loaded():
    import importlib
    modules = {modules!r}
    found = {{name.partition(".")[0]: importlib.import_module(name.partition(".")[0]) for name in modules}}
    for name in modules:
        importlib.import_module(name)
    return {{**found, "__name__": "row", "VARIABLE": VARIABLE, "flags": flags, "status": status, "log": log, "prctl": prctl}}

def flags(descriptor):
    import fcntl
    return fcntl.fcntl(descriptor, fcntl.F_GETFL)

def status(name):
    with open("/proc/self/status") as file:
        return next(line.split(None, 1)[1].strip() for line in file if line.startswith(name))

def prctl(*numbers):
    import ctypes
    return ctypes.CDLL(None).prctl(*numbers, 0, 0, 0)

def log(name):
    import logging
    return logging.getLogger(name)

def is_well(well, names):
    try:
        return bool(eval(well, names))
    except (ValueError, RuntimeError, OSError, AttributeError, NameError):
        return False

@jobd.task
def sets(code, well=None):
    import os
    names = loaded()
    exec(code, names)
    assert well is None or not is_well(well, names), "the row sets nothing"
    ENDED.append(MONOTONIC())
    return os.getpid()

@jobd.task
def tells(well):
    # A run that follows without a pause of 20 ms may see what was set, and is tried again. Another may not.
    import os
    names = loaded()
    is_well = bool(eval(well, names))
    if not is_well and MONOTONIC() - ENDED[-1] > 0.024:
        SEEN.append(well)
    assert is_well and well not in SEEN
    return os.getpid()
"""
NOT_SEEN_AT_ONCE = ("faulthandler's timer",)
PUT_BACK, REPLACED = "the process goes on", "the process is replaced"

# name: (what a run sets, what tells that it is not set, what becomes of its process)
ROWS: dict[str, tuple[str, str, str]] = {
    # standard streams
    "encoding of standard output": (
        "sys.stdout.reconfigure(encoding='ascii', errors='strict')", "sys.stdout.encoding == 'utf-8'", PUT_BACK,
    ),
    "errors of standard output": (
        "sys.stdout.reconfigure(errors='strict')", "sys.stdout.errors == 'backslashreplace'", PUT_BACK,
    ),
    "buffering of standard error": (
        "sys.stderr.reconfigure(line_buffering=False)", "sys.stderr.line_buffering", PUT_BACK,
    ),
    "write-through": (
        "sys.stdout.reconfigure(write_through=True)", "not sys.stdout.write_through", PUT_BACK,
    ),
    "detached output": (
        "sys.stdout = io.TextIOWrapper(sys.stdout.detach(), 'ascii')", "sys.stdout.encoding == 'utf-8'", PUT_BACK,
    ),
    "output to nowhere": ("sys.stdout = sys.stderr = io.StringIO()", "sys.stdout is sys.__stdout__", PUT_BACK),
    "closed input": ("sys.stdin.close()", "sys.stdin.read() == ''", PUT_BACK),
    "closed descriptor 0": ("os.close(0)", "sys.stdin.read() == '' and os.read(0, 1) == b''", PUT_BACK),
    "another file as descriptor 0": (
        "os.dup2(os.open('/etc/passwd', os.O_RDONLY), 0)", "os.read(0, 1) == b''", PUT_BACK,
    ),
    "other input": ("sys.stdin = io.StringIO('x')", "sys.stdin.read() == ''", PUT_BACK),
    # sys
    "excepthook": ("sys.excepthook = print", "sys.excepthook is sys.__excepthook__", PUT_BACK),
    "displayhook": ("sys.displayhook = print", "sys.displayhook is sys.__displayhook__", PUT_BACK),
    "unraisablehook": ("sys.unraisablehook = print", "sys.unraisablehook is sys.__unraisablehook__", PUT_BACK),
    "breakpointhook": ("sys.breakpointhook = print", "sys.breakpointhook is sys.__breakpointhook__", PUT_BACK),
    "profile": ("sys.setprofile(lambda *a: None)", "sys.getprofile() is None", PUT_BACK),
    "trace": ("sys.settrace(lambda *a: None)", "sys.gettrace() is None", PUT_BACK),
    "switch interval": ("sys.setswitchinterval(1)", "sys.getswitchinterval() < 1", PUT_BACK),
    "digits of an int": ("sys.set_int_max_str_digits(0)", "sys.get_int_max_str_digits() == 4300", PUT_BACK),
    "recursion limit": ("sys.setrecursionlimit(2000)", "sys.getrecursionlimit() == 1000", PUT_BACK),
    "meta path": ("sys.meta_path.insert(0, None)", "None not in sys.meta_path", PUT_BACK),
    "path hooks": ("sys.path_hooks.clear()", "sys.path_hooks", PUT_BACK),
    "importer cache": ("sys.path_importer_cache = {}", "sys.path_importer_cache", PUT_BACK),
    "path": ("sys.path.insert(0, '/tmp')", "'/tmp' not in sys.path", PUT_BACK),
    "arguments": ("sys.argv[:] = ['x', 'y']", "sys.argv == ['jobd']", PUT_BACK),
    "bytecode": ("sys.dont_write_bytecode = None", "sys.dont_write_bytecode is not None", PUT_BACK),
    "flags of dlopen": ("sys.setdlopenflags(os.RTLD_GLOBAL | os.RTLD_NOW)", "sys.getdlopenflags() == os.RTLD_NOW", PUT_BACK),
    "flags": ("sys.flags = None", "sys.flags", PUT_BACK),
    "traceback limit": ("sys.tracebacklimit = 0", "not hasattr(sys, 'tracebacklimit')", PUT_BACK),
    "warning options": ("sys.warnoptions.append('error')", "'error' not in sys.warnoptions", PUT_BACK),
    "hooks of async generators": (
        "sys.set_asyncgen_hooks(firstiter=print)", "sys.get_asyncgen_hooks() == (None, None)", PUT_BACK,
    ),
    "origins of coroutines": (
        "sys.set_coroutine_origin_tracking_depth(5)", "sys.get_coroutine_origin_tracking_depth() == 0", PUT_BACK,
    ),
    "executable": ("sys.executable = ''", "sys.executable", PUT_BACK),
    # threading, builtins, functions of the library
    "excepthook of threads": (
        "threading.excepthook = print", "threading.excepthook is threading.__excepthook__", PUT_BACK,
    ),
    "trace of threads": ("threading.settrace(print)", "threading.gettrace() is None", PUT_BACK),
    "profile of threads": ("threading.setprofile(print)", "threading.getprofile() is None", PUT_BACK),
    "stack size of threads": ("threading.stack_size(1 << 20)", "threading.stack_size() == 0", PUT_BACK),
    "a builtin": ("builtins.print = None", "builtins.print is not None", PUT_BACK),
    "a new builtin": ("builtins._ = str", "not hasattr(builtins, '_')", PUT_BACK),
    "a builtin that is gone": ("del builtins.sum", "hasattr(builtins, 'sum')", PUT_BACK),
    "a function": ("time.sleep = None", "time.sleep is not None", REPLACED),
    "a class": ("socket.socket = None", "socket.socket is not None", REPLACED),
    "a method": (
        "json.JSONEncoder.default = print", "json.JSONEncoder.default is not print", REPLACED,
    ),
    "a module": ("sys.modules['socket'] = sys", "sys.modules['socket'] is not sys", REPLACED),
    # other modules
    "locale": ("locale.setlocale(locale.LC_ALL, 'C')", "locale.setlocale(locale.LC_CTYPE) != 'C'", PUT_BACK),
    "decimal's precision": ("decimal.getcontext().prec = 5", "decimal.getcontext().prec == 28", PUT_BACK),
    "decimal's context": ("decimal.setcontext(decimal.Context(prec=3))", "decimal.getcontext().prec == 28", PUT_BACK),
    "decimal's default": ("decimal.DefaultContext.prec = 5", "decimal.DefaultContext.prec == 28", PUT_BACK),
    "decimal's traps": (
        "decimal.DefaultContext.traps[decimal.Inexact] = True", "not decimal.DefaultContext.traps[decimal.Inexact]", PUT_BACK,
    ),
    "random": ("random.seed(1)", "random.getrandbits(64) != 10499958131665514997", PUT_BACK),
    "timeout of sockets": ("socket.setdefaulttimeout(5)", "socket.getdefaulttimeout() is None", PUT_BACK),
    "filters of warnings": (
        "warnings.simplefilter('error')", "not any(one[0] == 'error' and one[2] is Warning for one in warnings.filters)", PUT_BACK,
    ),
    "no filters of warnings": ("warnings.resetwarnings()", "warnings.filters", PUT_BACK),
    "showwarning": ("warnings.showwarning = print", "warnings.showwarning is not print", PUT_BACK),
    "a context variable": ("VARIABLE.set('changed')", "VARIABLE.get() == 'as it was'", PUT_BACK),
    "gc": ("gc.disable()", "gc.isenabled()", PUT_BACK),
    "gc's threshold": ("gc.set_threshold(1)", "gc.get_threshold()[0] > 1", PUT_BACK),
    "gc's callbacks": ("gc.callbacks.append(lambda *a: None)", "not gc.callbacks", PUT_BACK),
    "gc's debugging": ("gc.set_debug(gc.DEBUG_SAVEALL)", "not gc.get_debug()", PUT_BACK),
    "gc's freeze": ("gc.freeze()", "gc.get_freeze_count() == 0", PUT_BACK),
    "faulthandler": ("faulthandler.enable(file=2)", "not faulthandler.is_enabled()", PUT_BACK),
    "faulthandler's timer": ("faulthandler.dump_traceback_later(1, exit=True, file=2)", "time.sleep(1.2) is None", PUT_BACK),
    "tracemalloc": ("tracemalloc.start()", "not tracemalloc.is_tracing()", PUT_BACK),
    "types of files": ("mimetypes.add_type('a/b', '.jobd')", "mimetypes.guess_type('x.jobd')[0] is None", PUT_BACK),
    "error handler of a codec": (
        "codecs.register_error('replace', codecs.ignore_errors)", "codecs.lookup_error('replace') is codecs.replace_errors", PUT_BACK,
    ),
    "copyreg": ("copyreg.pickle(io.StringIO, str)", "io.StringIO not in copyreg.dispatch_table", PUT_BACK),
    "environment": ("os.environ['LEAKED'] = '1'", "'LEAKED' not in os.environ", PUT_BACK),
    "folder of temporary files": ("tempfile.tempdir = '/'", "tempfile.gettempdir() != '/'", PUT_BACK),
    "limit of csv": ("csv.field_size_limit(1)", "csv.field_size_limit() > 1", PUT_BACK),
    "debugging of http": ("http.client.HTTPConnection.debuglevel = 1", "http.client.HTTPConnection.debuglevel == 0", PUT_BACK),
    "debugging of smtp": ("smtplib.SMTP.debuglevel = 1", "smtplib.SMTP.debuglevel == 0", PUT_BACK),
    "debugging of imap": ("imaplib.Debug = 4", "imaplib.Debug == 0", PUT_BACK),
    "opener of urls": (
        "urllib.request.install_opener(urllib.request.build_opener())", "urllib.request._opener is None", PUT_BACK,
    ),
    "certificates unchecked": (
        "ssl._create_default_https_context = ssl._create_unverified_context",
        "ssl._create_default_https_context is ssl.create_default_context", PUT_BACK,
    ),
    "start method": (
        "multiprocessing.set_start_method('spawn')", "multiprocessing.get_start_method(allow_none=True) is None", PUT_BACK,
    ),
    "first weekday": ("calendar.setfirstweekday(6)", "calendar.firstweekday() == 0", PUT_BACK),
    "domain of gettext": ("gettext.textdomain('x')", "gettext.textdomain() == 'messages'", PUT_BACK),
    "mask of syslog": ("syslog.setlogmask(1)", "syslog.setlogmask(0) == 255", PUT_BACK),
    # asyncio
    "no event loop": ("asyncio.run(asyncio.sleep(0))", "asyncio.get_event_loop().close() is None", PUT_BACK),
    "a closed event loop": (
        "loop = asyncio.new_event_loop(); asyncio.set_event_loop(loop); loop.close()",
        "asyncio.get_event_loop().run_until_complete(asyncio.sleep(0)) is None", PUT_BACK,
    ),
    "a running event loop": (
        "asyncio._set_running_loop(asyncio.new_event_loop())", "asyncio.run(asyncio.sleep(0)) is None", PUT_BACK,
    ),
    "an event loop policy": (
        "class Policy(asyncio.DefaultEventLoopPolicy): pass\nasyncio.set_event_loop_policy(Policy())",
        "type(asyncio.get_event_loop_policy()).__name__ != 'Policy'", PUT_BACK,
    ),
    # logging
    "level of the root": ("log('').setLevel(50)", "log('').isEnabledFor(20)", PUT_BACK),
    "logging disabled": ("logging.disable()", "log('').isEnabledFor(20)", PUT_BACK),
    "handlers of the root": ("log('').handlers.clear()", "len(log('').handlers) == 1", PUT_BACK),
    "handler of the root more": ("log('').addHandler(logging.StreamHandler())", "len(log('').handlers) == 1", PUT_BACK),
    "basicConfig": (
        "logging.basicConfig(force=True, format='other %(message)s')", "type(log('').handlers[0]).__name__ == 'Handler'", PUT_BACK,
    ),
    "format of the root's handler": (
        "log('').handlers[0].setFormatter(logging.Formatter('other %(message)s'))", "log('').handlers[0].formatter is None", PUT_BACK,
    ) ,
    "dictConfig": (
        "log('asyncio'); logging.config.dictConfig({'version': 1})", "not log('asyncio').disabled", PUT_BACK,
    ),
    "handler of a logger": (
        "log('own').addHandler(logging.StreamHandler())", "not log('own').handlers", PUT_BACK,
    ),
    "level of a logger": ("log('asyncio').setLevel(50)", "log('asyncio').isEnabledFor(20)", PUT_BACK),
    "propagation": ("log('asyncio').propagate = False", "log('asyncio').propagate", PUT_BACK),
    "filter": ("log('asyncio').addFilter(lambda r: False)", "not log('asyncio').filters", PUT_BACK),
    "last resort": ("logging.lastResort = None", "logging.lastResort", PUT_BACK),
    "class of loggers": (
        "class L(logging.Logger): pass\nlogging.setLoggerClass(L)", "logging.getLoggerClass() is logging.Logger", PUT_BACK,
    ),
    "factory of records": (
        "logging.setLogRecordFactory(dict)", "logging.getLogRecordFactory() is logging.LogRecord", PUT_BACK,
    ),
    "warnings captured": ("logging.captureWarnings(True)", "logging._warnings_showwarning is None", PUT_BACK),
    "names of levels": ("logging.addLevelName(20, 'X')", "logging.getLevelName(20) == 'INFO'", PUT_BACK),
    "errors of logging": ("logging.raiseExceptions = False", "logging.raiseExceptions", PUT_BACK),
    # loguru
    "loguru removed": ("loguru.logger.remove()", "len(loguru.logger._core.handlers) == 1", PUT_BACK),
    "loguru with one more": ("loguru.logger.add(sys.stderr)", "len(loguru.logger._core.handlers) == 1", PUT_BACK),
    "loguru disabled": ("loguru.logger.disable('')", "not loguru.logger._core.activation_list", PUT_BACK),
    "loguru configured": ("loguru.logger.configure(extra={'a': 1})", "not loguru.logger._core.extra", PUT_BACK),
    "loguru's patcher": ("loguru.logger.configure(patcher=print)", "loguru.logger._core.patcher is None", PUT_BACK),
    "loguru's levels": ("loguru.logger.level('NEW', 33)", "'NEW' not in loguru.logger._core.levels", PUT_BACK),
    # the process
    "working directory": ("os.chdir('/')", "os.getcwd() != '/'", PUT_BACK),
    "umask": ("os.umask(0o17)", "status('Umask') != '0017'", PUT_BACK),
    **{
        f"handler of {name}": (
            f"signal.signal(signal.{name}, print)", f"signal.getsignal(signal.{name}) is not print", PUT_BACK,
        )
        for name in ("SIGTERM", "SIGPIPE", "SIGWINCH", "SIGXCPU", "SIGQUIT", "SIGRTMIN", "SIGRTMAX", "SIGCHLD")
    },
    "disposition of SIGPIPE": (
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)", "signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN", PUT_BACK,
    ),
    "disposition of a signal, below Python": (
        "ctypes.CDLL(None).signal(signal.SIGUSR1, ctypes.c_void_p(1))", "int(status('SigIgn'), 16) >> 9 & 1 == 0", REPLACED,
    ),
    "mask of signals": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, [10])", "not signal.pthread_sigmask(signal.SIG_BLOCK, [])", PUT_BACK,
    ),
    "wake-up descriptor": (
        "r, w = os.pipe(); os.set_blocking(w, False); signal.set_wakeup_fd(w)", "signal.set_wakeup_fd(-1) == -1", PUT_BACK,
    ),
    **{
        f"timer {name}": (
            f"signal.setitimer(signal.{name}, 100)", f"signal.getitimer(signal.{name}) == (0, 0)", PUT_BACK,
        )
        for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")
    },
    "a timer of POSIX": (
        "ctypes.CDLL(None).timer_create(0, None, ctypes.byref(ctypes.c_void_p()))",
        "not open('/proc/self/timers').read()", REPLACED,
    ),
    "output that does not wait": ("os.set_blocking(1, False)", "os.get_blocking(1)", PUT_BACK),
    "output that does not wait, by a child": (
        "subprocess.run([sys.executable, '-c', 'import os; os.set_blocking(1, False)'])", "os.get_blocking(1)", PUT_BACK,
    ),
    "output that signals": ("fcntl.fcntl(1, fcntl.F_SETFL, flags(1) | os.O_ASYNC)", "not flags(1) & os.O_ASYNC", PUT_BACK),
    "size of the output pipe": ("fcntl.fcntl(1, 1031, 4096)", "fcntl.fcntl(1, 1032) > 4096", REPLACED),
    "processors": (
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])", "len(os.sched_getaffinity(0)) == os.cpu_count()", PUT_BACK,
    ),
    "scheduling": (
        "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))", "os.sched_getscheduler(0) == 0", REPLACED,
    ),
    "niceness": ("os.nice(1)", "os.nice(0) == os.getpriority(os.PRIO_PROCESS, os.getppid())", REPLACED),
    "priority of input and output": (
        "ctypes.CDLL(None).syscall(251, 1, 0, 3 << 13)", "ctypes.CDLL(None).syscall(252, 1, 0) == 0", REPLACED,
    ),
    "session": ("os.setpgid(0, 0); os.setpgid(0, os.getppid()); os.setsid()", "os.getsid(0) == os.getppid()", REPLACED),
    "process group": ("os.setpgid(0, 0)", "os.getpgid(0) == os.getppid()", REPLACED),
    "dumpable": ("prctl(4, 0)", "prctl(3, 0) == 1", REPLACED),
    "name": ("prctl(15, b'other')", "status('Name') != 'other'", PUT_BACK),
    "slack of timers": ("prctl(29, 1_000_000)", "prctl(30, 0) < 1_000_000", REPLACED),
    "no new privileges": ("prctl(38, 1)", "status('NoNewPrivs') == '0'", REPLACED),
    "kept capabilities": ("prctl(8, 1)", "prctl(7, 0) == 0", REPLACED),
    "personality": ("ctypes.CDLL(None).personality(0x0040000)", "ctypes.CDLL(None).personality(-1) == 0", REPLACED),
    "locked memory": ("ctypes.CDLL(None).mlock(ctypes.c_void_p(id(sys) & ~4095), ctypes.c_size_t(4096))", "status('VmLck') == '0 kB'", REPLACED),
    "oom score": (
        "open('/proc/self/oom_score_adj', 'w').write('500')", "open('/proc/self/oom_score_adj').read() != '500\\n'", REPLACED,
    ),
    "limits": ("resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))", "resource.getrlimit(resource.RLIMIT_FSIZE)[1] != 10**6", REPLACED),
    "descriptors": ("[os.dup(0) for number in range(100)]", "os.dup(0) < 64", REPLACED),
    "namespace": (
        "os.environ['NS'] = os.readlink('/proc/self/ns/uts'); assert ctypes.CDLL(None).unshare(0x04000000) == 0",
        "os.readlink('/proc/self/ns/uts') == os.readlink(f'/proc/{os.getppid()}/ns/uts')", REPLACED,
    ),
    "root": ("os.chroot('/proc/self/cwd/..')", "os.path.exists('/etc/passwd')", REPLACED),
    "a thread": ("threading.Thread(target=time.sleep, args=(100,), daemon=True).start()", "threading.active_count() == 1", REPLACED),
}  # fmt: skip


@pytest.fixture(scope="module", params=["imported by the plugin", "imported by its runs"])
def seen(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Seen]:
    """One worker, that runs each row and right after it what tells."""
    imports = "import " + ", ".join(MODULES) if request.param == "imported by the plugin" else ""
    installation = Installation(
        tmp_path_factory.mktemp("rows") / "home", plugin=PLUGIN.format(imports=imports, modules=MODULES)
    )
    installation.environ["LC_ALL"] = "C.UTF-8"
    installation.foreground()
    jobs, last = ['[job."the first"]\ntask = "tells"\nargs = {well = "True"}\nrunonce = true\n'], "the first"
    for name, (code, well, _) in ROWS.items():
        jobs.append(job(name, "sets", last, code=code, well=None if name in NOT_SEEN_AT_ONCE else well))
        last = f"after {name}"
        jobs.append(job(last, "tells", name, well=well))
    (installation.folder / "jobs.toml").write_text("".join(jobs))
    installation.fine("apply", "jobs.toml", "--yes")
    began = time.monotonic()
    while last not in (found := runs(installation)):
        assert time.monotonic() < began + 110, list(found)[:3]
        time.sleep(0.5)
    yield found
    installation.close()


def runs(installation: Installation) -> dict[str, dict[str, Any]]:
    """The last run of each job, newest first."""
    return {run["job"]: run for run in installation.fine("history", "--json", "-n", "1000")}


def job(name: str, task: str, after: str, **arguments: Any) -> str:
    args = ", ".join(f"{key} = {json.dumps(value)}" for key, value in arguments.items() if value is not None)
    again = 'retry_times = 1\nbackoff = "100ms"\n' if task == "tells" else ""
    return f'[job."{name}"]\ntask = "{task}"\nargs = {{{args}}}\nafter_jobs = ["{after}:finished"]\n{again}'


@pytest.mark.quiet  # a worker that gets no processor between two runs has no pause in which to look
@pytest.mark.parametrize("name", ROWS)
def test_settings_of_a_run_are_reset_before_the_next(seen: Seen, name: str) -> None:
    run, follower = seen[name], seen[f"after {name}"]
    if (run["error"] or "").startswith("PermissionError"):
        pytest.skip("this needs to be root")
    assert run["outcome"] == "succeeded", run["error"]
    assert follower["outcome"] == "succeeded", follower["error"]
    assert (run["result"] == follower["result"]) == (ROWS[name][2] == PUT_BACK)


def test_an_import_takes_over_nothing_that_runs_before_it_have_set(tmp_path: Path) -> None:
    """They follow each other so quickly that there was no time for a thorough look."""
    plugin = (
        "import os, socket, jobd\n"
        "@jobd.task\ndef sets():\n    socket.setdefaulttimeout(7)\n"
        "@jobd.task\ndef tells():\n    return [socket.getdefaulttimeout(), os.getpid()]\n"
    )
    installation = Installation(tmp_path / "home", plugin=plugin)
    (installation.folder / "plugins" / "late.py").write_text("import jobd\n@jobd.task\ndef late():\n    pass\n")
    once = "".join(f'[job.sets{number}]\ntask = "sets"\nrunonce = true\n' for number in range(400))
    late = '[job.late]\nrunonce = true\n[job.more]\ntask = "sets"\nrunonce = true\n'
    (installation.folder / "jobs.toml").write_text(once + late)
    try:
        installation.fine("apply", str(installation.folder / "jobs.toml"), "--yes")
        installation.foreground()
        installation.ended("more")
        installation.fine("add", "tells", "--once")
        installation.ended("late")
        (run,) = installation.ended("tells")
        assert run["result"][0] is None
    finally:
        installation.close()
