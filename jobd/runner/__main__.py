"""`python -m jobd.runner`: the program of worker processes and of the listing of tasks. Only jobd starts it.

--socket FD --memory FD --lifeline FD --locks FD,… [--commands]    run a worker and its guardian
--list FD [--skip SOURCE]... [--asked TASK]    write the list of tasks to descriptor FD

--plugins DIR [--copy DIR]    for both: the plugins folder, and the copy of its code to read instead
"""

import os
import sys

from jobd import linux


def main() -> None:
    """Run the process that the arguments select; does not return."""
    words = sys.argv[1:]
    given = {word: words[number + 1] for number, word in enumerate(words[:-1])}
    copy = _absolute(given["--copy"]) if "--copy" in given else None
    _write_no_open_bytecode()
    if "--list" in words:
        from jobd.plugins.catalogue import Catalogue
        from jobd.runner.announce import announce_tasks

        skipped = [words[number + 1] for number, word in enumerate(words) if word == "--skip"]
        announce_tasks(Catalogue(given["--plugins"], copy), int(given["--list"]), skipped, given.get("--asked"))
        os._exit(0)
    descriptor, memory, lifeline = (int(given[word]) for word in ("--socket", "--memory", "--lifeline"))
    linux.adopt_orphans()
    guardian = os.getpid()
    # The fork comes before anything is imported or started that a fork could break.
    worker = os.fork()  # noqa: TID251 - no thread has been started yet
    if worker:
        from jobd.runner.guardian import guard

        os.close(descriptor)
        os.close(memory)
        guard(worker, lifeline)
    os.close(lifeline)
    for lock in given["--locks"].split(","):
        os.close(int(lock))  # only the guardian holds it
    linux.die_with_parent(guardian)
    linux.adopt_orphans()
    from jobd.plugins.catalogue import Catalogue
    from jobd.runner.worker import main as work

    work(descriptor, memory, Catalogue(given["--plugins"], copy), "--commands" in words)


def _absolute(path: str) -> str:
    """The absolute path. The working directory is the state directory, even after it has been moved."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        return path  # the state directory has been deleted: plugins cannot be imported, but programs can run


def _write_no_open_bytecode() -> None:
    """Write no bytecode if this umask would make `__pycache__` world-writable, because jobd refuses such a folder."""
    umask = os.umask(0o077)
    os.umask(umask)
    sys.dont_write_bytecode |= not umask & 0o002


if __name__ == "__main__":
    main()
