"""A reference from a job to a job that it runs after. Users write and see a name; the table stores an id.

A user writes NAME, or NAME:finished to accept any outcome. NAME:succeeded means the same as NAME; it is needed if the
name itself ends in one of these words. The stored form has the id, so that a rename breaks nothing, and the name at
that time, which is shown if the row of that job no longer exists.
"""

from collections.abc import Iterable
from typing import NamedTuple

from jobd.errors import BadValue

FINISHED, SUCCEEDED = ":finished", ":succeeded"


class Dependency(NamedTuple):
    """A job that another job runs after. `job_id` is 0 until the name has been looked up."""

    name: str
    any_outcome: bool = False
    job_id: int = 0

    @property
    def text(self) -> str:
        """The form that users write."""
        if self.any_outcome:
            return self.name + FINISHED
        return self.name + (SUCCEEDED if self.name.endswith((FINISHED, SUCCEEDED)) else "")

    @property
    def key(self) -> str:
        """The permanent form: the id, and `:finished` for any outcome."""
        return f"{self.job_id}{FINISHED if self.any_outcome else ''}"

    @property
    def stored(self) -> str:
        """The form of an item of the column `after_jobs`."""
        return f"{self.key} {self.name}"


def parse_dependency(text: str) -> Dependency:
    """The dependency that a user wrote as `text`."""
    if text.endswith(FINISHED):
        return Dependency(text.removesuffix(FINISHED), True)
    return Dependency(text.removesuffix(SUCCEEDED))


def parse_dependencies(texts: Iterable[str]) -> tuple[Dependency, ...]:
    """The dependencies that a user wrote. If a name is repeated, the last one counts."""
    return tuple({one.name: one for one in map(parse_dependency, texts)}.values())


def read_dependency(stored: str) -> Dependency:
    """The dependency in an item of the column `after_jobs`. Raises BadValue."""
    key, _, name = stored.partition(" ")
    digits = key.removesuffix(FINISHED)
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 19 and name):
        raise BadValue(f"after_jobs holds {ascii(stored)[:80]}, not the number and the name of a job")
    return Dependency(name, key.endswith(FINISHED), int(digits))
