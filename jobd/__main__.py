"""`jobd` and `python -m jobd`: by the quick path where there is one, else by click."""

import gc
import os
import sys

from jobd import umask


def main() -> None:
    """Do what the command line says and exit. Nobody else may write what it makes, whatever the umask."""
    umask.narrow()
    gc.disable()  # what is loaded at the start is no garbage, and looking through it takes time
    from jobd.cli import finish
    from jobd.cli.quick import quick

    argv = sys.argv[1:]
    work = quick(argv, os.environ)
    code = finish(work or (lambda: run_click(argv)))
    if code or (work is None and argv[-1:] != ["--help"]):
        sys.exit(code)
    os._exit(0)  # all is written and closed; to take the interpreter apart would be a tenth of the time


def run(argv: list[str]) -> int:
    """What `main` does, in a process that goes on."""
    from jobd.cli.quick import quick

    work = quick(argv, os.environ)
    return run_click(argv) if work is None else work()


def run_click(argv: list[str]) -> int:
    """Whatever has no quick path."""
    from jobd.cli.group import run as run_group

    return run_group(argv)


if __name__ == "__main__":
    main()
