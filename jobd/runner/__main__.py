"""`python -m jobd.runner`: what a worker process executes. Started by the daemon only.

--socket FD --memory FD --lifeline FD --locks FD,… [--commands]    be a worker, and its guardian
--list FD [--skip SOURCE]... [--asked TASK]    tell what tasks there are, on descriptor FD

--plugins DIR [--copy DIR]    for both: the plugins folder, and the copy of its code to read instead
"""

import os
import sys

from jobd import linux


def main() -> None:
    """Do what the arguments say."""
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
    # The one fork: nothing has been imported or started yet that could mind.
    worker = os.fork()  # noqa: TID251 - no thread has been started yet
    if worker:
        from jobd.runner.guardian import guard

        os.close(descriptor)
        os.close(memory)
        guard(worker, lifeline)
    os.close(lifeline)
    for lock in given["--locks"].split(","):
        os.close(int(lock))  # the guardian's alone
    linux.die_with_parent(guardian)
    linux.adopt_orphans()
    from jobd.plugins.catalogue import Catalogue
    from jobd.runner import worker as proper

    proper.main(descriptor, memory, Catalogue(given["--plugins"], copy), "--commands" in words)


def _absolute(path: str) -> str:
    """Found out here, for the daemon's working directory is the state folder, also when that has been moved."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        return path  # the state folder has been deleted: there is no code, but programs can run


def _write_no_open_bytecode() -> None:
    """Python makes the folder `__pycache__` with this umask; one that anybody could write, jobd would refuse."""
    umask = os.umask(0o077)
    os.umask(umask)
    sys.dont_write_bytecode |= not umask & 0o002


if __name__ == "__main__":
    main()
