"""jobd runs your Python functions on time, on one machine or many, and remembers what happened.

The public API, all of it, and cheap to import:

    @jobd.task                 marks a function in plugins/ as a task of its own name
    @jobd.task(name="poll-2")  … of this name
    jobd.current_run()         inside a task: job, run, due time, attempt and deadline
    jobd.Cancelled             raised in a task whose run is to end, so that it can clean up
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobd.api import Cancelled as Cancelled
    from jobd.api import CurrentRun as CurrentRun
    from jobd.api import current_run as current_run
    from jobd.api import task as task

__version__ = "0.1.0"
__all__ = ["Cancelled", "CurrentRun", "__version__", "current_run", "task"]


def __getattr__(name: str) -> object:
    """Load the API of plugins at its first use, because the command line never uses it and must start quickly."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jobd import api

    globals()[name] = found = getattr(api, name)
    return found
