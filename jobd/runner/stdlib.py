"""The settings in the standard library's modules, and how to restore them: one row for each.

If a plugin's import has loaded the module, its settings after the import are restored. If a run has loaded it, its
initial settings (`new`) are restored.
"""

import _locale  # noqa: F401 - imported so that their settings are known from the start
import _tracemalloc  # noqa: F401
import codecs  # noqa: F401
import copyreg  # noqa: F401
import faulthandler  # noqa: F401
import gc  # noqa: F401
import sys
import warnings  # noqa: F401
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

_ABSENT: Any = object()
_ERROR_HANDLERS = "strict", "ignore", "replace", "backslashreplace", "surrogateescape", "surrogatepass"
_DECIMAL = 28, "ROUND_HALF_EVEN", -999999, 999999, 1, 0, ["DivisionByZero", "InvalidOperation", "Overflow"]


class Setting(NamedTuple):
    """How to read and to write one setting, and its initial value."""

    module: str
    get: Callable[[Any], Any]
    put: Callable[[Any, Any], object]
    new: Callable[[Any], Any]


def _named(module: str, path: str, new: Any = None) -> Setting:
    """An attribute of a module, or of a class or object in it. `new`: the initial value or a function of the module."""
    *owners, name = path.split(".")

    def owner(holder: Any) -> Any:
        for part in owners:
            holder = getattr(holder, part)
        return holder

    def put(holder: ModuleType, value: Any) -> None:
        if value is _ABSENT:
            delattr(owner(holder), name)
        else:
            setattr(owner(holder), name, value)

    is_derived = callable(new) and new is not _ABSENT
    return Setting(
        module, lambda holder: getattr(owner(holder), name, _ABSENT), put, new if is_derived else lambda holder: new
    )


def _asked(module: str, get: str, put: str, new: Any = None) -> Setting:
    """A setting with a getter and a setter function."""
    return Setting(
        module,
        lambda holder: getattr(holder, get)(),
        lambda holder, value: getattr(holder, put)(value),
        lambda holder: new,
    )


def _content(module: str, name: str) -> Setting:
    """A list or dict that is changed in place, in a module that is always loaded."""

    def get(holder: ModuleType) -> Any:
        value = getattr(holder, name)
        return value, value.copy()

    def put(holder: ModuleType, value: Any) -> None:
        kept, content = value
        setattr(holder, name, kept)
        if isinstance(kept, list):
            kept[:] = content
        else:
            _set_content(kept, content)

    return Setting(module, get, put, lambda holder: _ABSENT)


def _set_content(kept: dict[Any, Any], content: dict[Any, Any]) -> None:
    for key in kept.keys() - content.keys():
        del kept[key]
    kept.update(content)


def _set_input(system: Any, value: object) -> None:
    system.stdin = system.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays open


def _context_of(context: Any) -> Any:
    traps = sorted(signal.__name__ for signal, is_set in context.traps.items() if is_set)
    return context.prec, context.rounding, context.Emin, context.Emax, context.capitals, context.clamp, traps


def _set_context(decimal: Any, value: Any) -> None:
    context = decimal.DefaultContext
    *numbers, traps = value
    for name, number in zip(("prec", "rounding", "Emin", "Emax", "capitals", "clamp"), numbers, strict=True):
        setattr(context, name, number)
    for signal in context.traps:
        context.traps[signal] = signal.__name__ in traps


def _set_filters(module: Any, value: Any) -> None:
    module.filters, content = value
    module.resetwarnings()  # makes the C code read the filters again
    module.filters[:] = content


def _set_monitoring(system: Any, value: Any) -> None:
    for number, name in enumerate(value):
        if name is None and system.monitoring.get_tool(number) is not None:
            system.monitoring.set_events(number, 0)
            system.monitoring.free_tool_id(number)


SETTINGS: tuple[Setting, ...] = (
    *(
        _named("sys", name)
        for name in (
            "excepthook",
            "displayhook",
            "unraisablehook",
            "breakpointhook",
            "dont_write_bytecode",
            "pycache_prefix",
            "tracebacklimit",
            "flags",
            "executable",
            "path_importer_cache",
            "platform",
            "byteorder",
            "prefix",
            "exec_prefix",
            "ps1",
        )
    ),
    *(_content("sys", name) for name in ("argv", "meta_path", "path_hooks", "warnoptions", "_xoptions")),
    _asked("sys", "getswitchinterval", "setswitchinterval"),
    _asked("sys", "get_int_max_str_digits", "set_int_max_str_digits"),
    _asked("sys", "getdlopenflags", "setdlopenflags"),
    _asked("sys", "getprofile", "setprofile"),
    _asked("sys", "gettrace", "settrace"),
    _asked("sys", "get_coroutine_origin_tracking_depth", "set_coroutine_origin_tracking_depth"),
    Setting("sys", lambda m: m.get_asyncgen_hooks(), lambda m, value: m.set_asyncgen_hooks(*value), lambda m: _ABSENT),
    Setting("sys", lambda m: m.stdin is m.__stdin__ and not m.stdin.closed, _set_input, lambda m: True),
    Setting("builtins", lambda m: vars(m).copy(), lambda m, value: _set_content(vars(m), value), lambda m: _ABSENT),
    *(
        [
            Setting(
                "sys",
                lambda m: [m.monitoring.get_tool(number) for number in range(6)],
                _set_monitoring,
                lambda m: [None] * 6,
            )
        ]
        if sys.version_info >= (3, 12)
        else []
    ),
    _content("copyreg", "dispatch_table"),
    *(_named("threading", name) for name in ("excepthook", "_trace_hook", "_profile_hook")),
    _asked("threading", "stack_size", "stack_size"),
    _asked("socket", "getdefaulttimeout", "setdefaulttimeout"),
    Setting(
        "_locale", lambda m: m.setlocale(m.LC_ALL, None), lambda m, value: m.setlocale(m.LC_ALL, value), lambda m: "C"
    ),
    Setting(
        "codecs",
        lambda m: [m.lookup_error(name) for name in _ERROR_HANDLERS],
        lambda m, value: [m.register_error(*pair) for pair in zip(_ERROR_HANDLERS, value, strict=True)],
        lambda m: _ABSENT,
    ),
    Setting("warnings", lambda m: (m.filters, m.filters.copy()), _set_filters, lambda m: _ABSENT),
    _named("warnings", "showwarning"),
    _named("warnings", "formatwarning"),
    _named("warnings", "defaultaction"),
    Setting(
        "gc",
        lambda m: (m.get_threshold(), m.get_debug(), m.isenabled()),
        lambda m, value: (
            m.set_threshold(*value[0]),
            m.set_debug(value[1]),
            m.enable() if value[2] else m.disable(),
        ),
        lambda m: _ABSENT,
    ),
    _content("gc", "callbacks"),
    Setting("gc", lambda m: not m.get_freeze_count(), lambda m, value: m.unfreeze(), lambda m: _ABSENT),
    Setting(
        "faulthandler",
        lambda m: (m.is_enabled(), m.cancel_dump_traceback_later()),
        lambda m, value: m.enable() if value[0] else m.disable(),
        lambda m: _ABSENT,
    ),
    Setting("_tracemalloc", lambda m: m.is_tracing(), lambda m, value: None if value else m.stop(), lambda m: False),
    # A run that seeds `random` must not determine the next run's numbers.
    Setting("random", lambda m: object(), lambda m, value: m.seed(), lambda m: _ABSENT),
    _asked("csv", "field_size_limit", "field_size_limit", 131072),
    _named("tempfile", "tempdir"),
    _named("tempfile", "template", "tmp"),
    _named("urllib.request", "_opener"),
    _named("http.client", "HTTPConnection.debuglevel", 0),
    _named("http.client", "HTTPSConnection.debuglevel", 0),
    _named("ftplib", "FTP.debugging", 0),
    _named("smtplib", "SMTP.debuglevel", 0),
    _named("poplib", "POP3._debugging", 0),
    _named("imaplib", "Debug", 0),
    _named("ssl", "_create_default_https_context", lambda ssl: ssl.create_default_context),
    _named("mimetypes", "inited", False),
    _named("mimetypes", "_db"),
    Setting("decimal", lambda m: _context_of(m.DefaultContext), _set_context, lambda m: (*_DECIMAL,)),
    _named("multiprocessing.context", "_default_context._actual_context"),
    Setting("calendar", lambda m: m.firstweekday(), lambda m, value: m.setfirstweekday(value), lambda m: 0),
    _named("gettext", "_current_domain", "messages"),
    Setting("syslog", lambda m: m.setlogmask(0), lambda m, value: m.setlogmask(value), lambda m: 0xFF),
)


class Standard:
    """The settings of the standard library before any run."""

    def __init__(self) -> None:
        self._states: list[tuple[Setting, ModuleType, Any]] = []
        self.remember()

    def remember(self) -> None:
        """Accept the present settings: those made by a plugin's import stay."""
        self._states = [
            (setting, module, setting.get(module))
            for setting in SETTINGS
            if (module := sys.modules.get(setting.module)) is not None
        ]
        self._rest = [setting for setting in SETTINGS if setting.module not in sys.modules]

    def restore(self) -> None:
        """Restore the settings. Raises errors of any kind if that fails."""
        for setting in [one for one in self._rest if one.module in sys.modules]:
            module = sys.modules[setting.module]
            self._states.append((setting, module, setting.new(module)))
            self._rest.remove(setting)
        for setting, module, state in self._states:
            if setting.get(module) != state:
                setting.put(module, state)
