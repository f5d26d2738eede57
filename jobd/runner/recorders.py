"""Catches the records of logging and loguru, and restores their settings after each run.

Settings made by a plugin's import stay. If it made none, records go to the worker's output with their level. A logger
that is new after a run keeps the settings that the import of a module gave it, but no handler except a NullHandler: if
each run added a handler, every record would be repeated once more after each run.
"""

import sys
from collections.abc import Callable
from typing import Any

Record = Callable[[str, str], None]
_LEVELS = ((40, "error"), (30, "warning"), (20, "info"), (0, "debug"))
_OF_A_LOGGER = "level", "propagate", "disabled", "handlers", "filters"
_OF_A_HANDLER = "level", "formatter", "filters"
_OF_THE_MANAGER = "disable", "loggerClass", "logRecordFactory"
_OF_LOGGING = (
    "lastResort", "raiseExceptions", "_loggerClass", "_logRecordFactory", "_warnings_showwarning", "logThreads",
    "logMultiprocessing", "logProcesses", "_levelToName", "_nameToLevel",
)  # fmt: skip
_OF_LOGURU = "patcher", "extra", "activation_list", "activation_none", "levels", "levels_lookup", "levels_ansi_codes"

_State = list[tuple[Any, dict[str, Any]]]  # objects and the attributes to restore


class Logging:
    """The settings of the standard library's logging, once it is loaded."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._state: _State = []
        self._loggers: set[str] = set()
        self._handler: Any = None
        self._modules = 0

    def remember(self) -> None:
        """Accept the present settings; if a plugin's import has added no handler, catch the records."""
        self._modules = len(sys.modules)
        if "logging" not in sys.modules:
            return
        logging = sys.modules["logging"]
        if self._handler is None:
            self._handler = _handler(logging, self._record)
            if not logging.root.handlers:
                self._catch(logging.root)
        self._state = _state_of(logging)
        self._loggers = {*logging.root.manager.loggerDict}

    def restore(self) -> None:
        """Restore the settings after a run."""
        if "logging" not in sys.modules:
            return
        logging: Any = sys.modules["logging"]
        if self._handler is None:  # a run has loaded it
            self._handler = _handler(logging, self._record)
            logging.root.handlers.clear()
            logging.root.setLevel(logging.WARNING)
            logging.disable(logging.NOTSET)
            self._catch(logging.root)
            self._state = _state_of(logging, with_loggers=False)
        changed = _put(self._state)
        if len(logging.root.manager.loggerDict) != len(self._loggers):
            self._adopt_new(logging)
        if changed:
            logging.root.manager._clear_cache()

    def root_is_intact(self) -> bool:
        """Whether the root logger, which most settings concern, is as before."""
        logging: Any = sys.modules.get("logging")
        if logging is None:
            return True
        if not self._state:
            return False
        root, state = self._state[0]
        return bool(root.handlers == state["handlers"] and root.level == state["level"] and not root.manager.disable)

    def _catch(self, root: Any) -> None:
        root.addHandler(self._handler)
        if root.level == 30:
            root.setLevel("INFO")

    def _adopt_new(self, logging: Any) -> None:
        was_import = len(sys.modules) > self._modules
        self._modules = len(sys.modules)
        for name, logger in [*logging.root.manager.loggerDict.items()]:
            if name in self._loggers:
                continue
            self._loggers.add(name)
            if isinstance(logger, logging.Logger):
                logger.handlers = [one for one in logger.handlers if type(one) is logging.NullHandler]
                if not was_import:
                    logger.level, logger.propagate, logger.disabled, logger.filters = 0, True, False, []
                self._state.append((logger, _picked(logger, _OF_A_LOGGER)))


class Loguru:
    """The settings of loguru, once it is loaded."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._core: Any = None
        self._handlers: Any = None
        self._own = -1  # the number of jobd's handler
        self._state: _State = []

    def remember(self) -> None:
        """Accept the present settings; if a plugin's import has added no handler, catch the records."""
        loguru: Any = sys.modules.get("loguru")
        if loguru is None:
            return
        if self._core is None:
            self._core = loguru.logger._core
            if 0 in self._core.handlers:  # loguru's default handler
                loguru.logger.remove(0)
                self._add(loguru.logger)
        self._handlers = self._core.handlers
        self._state = [(self._core, _picked(self._core, _OF_LOGURU))]

    def restore(self) -> bool:
        """Restore the settings after a run. False: a handler was removed that only its plugin can create."""
        loguru: Any = sys.modules.get("loguru")
        if loguru is None:
            return True
        logger = loguru.logger
        if self._core is None:  # a run has loaded it
            self._core = logger._core
            logger.remove()
            logger.configure(extra={}, patcher=None)
            logger.enable("")
            self._add(logger)
            self.remember()
        if self._core.handlers is not self._handlers:
            for number in self._core.handlers.keys() - self._handlers.keys():
                logger.remove(number)
            gone = self._handlers.keys() - self._core.handlers.keys()
            if gone - {self._own}:
                return False
            if gone:
                self._add(logger)
            self._handlers = self._core.handlers
        if _put(self._state):
            self._core.enabled = {}
        return True

    def _add(self, logger: Any) -> None:
        record = self._record

        def sink(message: Any) -> None:
            record(_level(message.record["level"].no), str(message).rstrip("\n"))

        self._own = logger.add(sink, format="{message}", diagnose=False, backtrace=False)


def _handler(logging: Any, record: Record) -> Any:
    class Handler(logging.Handler):  # type: ignore[misc]
        def emit(self, entry: Any) -> None:
            try:
                record(_level(entry.levelno), self.format(entry))
            except Exception:  # noqa: BLE001 - a record that cannot be formatted must not fail the task
                self.handleError(entry)

    return Handler()


def _state_of(logging: Any, with_loggers: bool = True) -> _State:
    manager = logging.root.manager
    loggers = [logging.root]
    if with_loggers:
        loggers += [one for one in manager.loggerDict.values() if isinstance(one, logging.Logger)]
    handlers = {id(one): one for logger in loggers for one in logger.handlers}
    return [
        *((one, _picked(one, _OF_A_LOGGER)) for one in loggers),
        *((one, _picked(one, _OF_A_HANDLER)) for one in handlers.values()),
        (manager, _picked(manager, _OF_THE_MANAGER)),
        (logging, _picked(logging, _OF_LOGGING)),
    ]


def _picked(owner: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _copied(getattr(owner, name)) for name in names}


def _copied(value: Any) -> Any:
    return value.copy() if type(value) in (list, dict) else value


def _put(state: _State) -> bool:
    """Restore the attributes that differ. Return whether any did."""
    changed = False
    for owner, attributes in state:
        for name, value in attributes.items():
            if getattr(owner, name) != value:
                setattr(owner, name, _copied(value))
                changed = True
    return changed


def _level(number: int) -> str:
    return next(name for least, name in _LEVELS if number >= least)
