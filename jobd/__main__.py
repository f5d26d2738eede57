"""`jobd` and `python -m jobd`: the quick path if the command has one, else click."""

import gc
import os
import sys

from jobd import umask


def main() -> None:
    """Execute the command line and exit. Only this user may write files that it creates, independent of the umask."""
    umask.narrow()
    gc.disable()  # modules loaded at the start are never garbage, and a collection would scan them all
    from jobd.cli import finish
    from jobd.cli.quick import quick

    argv = sys.argv[1:]
    work = quick(argv, os.environ)
    code = finish(work or (lambda: run_click(argv)))
    if code or (work is None and argv[-1:] != ["--help"]):
        sys.exit(code)
    os._exit(0)  # everything is written and closed; a normal interpreter shutdown takes a tenth of the total time


def run(argv: list[str]) -> int:
    """`main` for a process that continues afterwards: returns the exit code."""
    from jobd.cli.quick import quick

    work = quick(argv, os.environ)
    return run_click(argv) if work is None else work()


def run_click(argv: list[str]) -> int:
    """Execute a command without a quick path; its exit code."""
    from jobd.cli.group import run as run_group

    return run_group(argv)


if __name__ == "__main__":
    main()
