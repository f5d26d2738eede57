"""A reference from a job to one that it runs after: written with a name, stored with an id, shown with a name again.

A person writes NAME, or NAME:finished when any outcome will do. NAME:succeeded says the same as NAME; it is needed
where a name itself ends in one of these words. What is stored holds the id, so that a rename breaks nothing, and the
name as it was then, which is shown when the row of that job is gone.
"""

from collections.abc import Iterable
from typing import NamedTuple

from jobd.errors import BadValue

FINISHED, SUCCEEDED = ":finished", ":succeeded"


class Dependency(NamedTuple):
    """One job that another runs after. `job_id` is 0 until the name has been looked up."""

    name: str
    any_outcome: bool = False
    job_id: int = 0

    @property
    def text(self) -> str:
        """As a person writes it."""
        if self.any_outcome:
            return self.name + FINISHED
        return self.name + (SUCCEEDED if self.name.endswith((FINISHED, SUCCEEDED)) else "")

    @property
    def key(self) -> str:
        """What names it for good."""
        return f"{self.job_id}{FINISHED if self.any_outcome else ''}"

    @property
    def stored(self) -> str:
        """As an item of the column `after_jobs`."""
        return f"{self.key} {self.name}"


def parse_dependency(text: str) -> Dependency:
    """What a person means by `text`."""
    if text.endswith(FINISHED):
        return Dependency(text.removesuffix(FINISHED), True)
    return Dependency(text.removesuffix(SUCCEEDED))


def parse_dependencies(texts: Iterable[str]) -> tuple[Dependency, ...]:
    """What a person means by `texts`; of a job that is named twice, the last counts."""
    return tuple({one.name: one for one in map(parse_dependency, texts)}.values())


def read_dependency(stored: str) -> Dependency:
    """An item of the column `after_jobs`. Raises BadValue."""
    key, _, name = stored.partition(" ")
    digits = key.removesuffix(FINISHED)
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 19 and name):
        raise BadValue(f"after_jobs holds {ascii(stored)[:80]}, not the number and the name of a job")
    return Dependency(name, key.endswith(FINISHED), int(digits))
