"""The umask: tasks and programs have that of jobd's start. Files that jobd creates are writable by its user only."""

import os

_given = -1


def narrow() -> None:
    """Let only this user write the files that this process creates. Call it once, before it creates any."""
    global _given
    _given = os.umask(0o077)
    os.umask(_given | 0o022)


def given() -> int:
    """The umask before `narrow`; -1, which subprocess takes as "unchanged", if `narrow` was not called."""
    return _given
