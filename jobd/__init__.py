"""jobd runs your Python functions on time, on one machine or many, and remembers what happened.

The public API, all of it, and cheap to import:

    @jobd.task                 marks a function in plugins/ as a task of its own name
    jobd.current_run()         inside a task: job, run, due time, attempt and deadline
"""

from jobd.api import CurrentRun, current_run, task

__version__ = "0.1.0"
__all__ = ["CurrentRun", "__version__", "current_run", "task"]
