"""What attempts printed: the tail of each, in a table of its own, so that the history stays narrow."""

from collections.abc import Sequence
from typing import NamedTuple

from jobd.store.store import Session

COLUMNS = ("job_id", "number", "attempt", "part", "text")


class Part(NamedTuple):
    """What one attempt of a run printed, or so far."""

    job_id: int
    number: int
    attempt: int
    part: int
    text: str


def save(session: Session, parts: Sequence[Part]) -> None:
    """Keep what was printed; what was kept of the same attempt before is replaced."""
    session.write_rows("output", COLUMNS, parts, key=COLUMNS[:4])
