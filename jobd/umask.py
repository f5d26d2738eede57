"""The umask that jobd was started with: tasks and programs have it. What jobd makes itself is for its user alone."""

import os

_given = -1


def narrow() -> None:
    """Nobody else may write what this process makes. Called once, before anything is made."""
    global _given
    _given = os.umask(0o077)
    os.umask(_given | 0o022)


def given() -> int:
    """The umask before `narrow`; -1, as subprocess has it, when this process still has that."""
    return _given
