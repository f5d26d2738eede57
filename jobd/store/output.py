"""What attempts printed: the tail of each, in a table of its own, so that the history stays narrow."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jobd.store.store import Session

DROPPED = "[jobd: output was dropped here: the database was away for so long]\n"
COLUMNS = ("job_id", "number", "attempt", "part", "text")


class Part(NamedTuple):
    """What one attempt of a run printed, or so far."""

    job_id: int
    number: int
    attempt: int
    part: int
    text: str  # empty: there is no such part
    keep_from: int = 0  # parts before this one are dropped, so that all together stay within the limit
    token: int = 0  # fencing token of the claim under which it ran


def kept_beside(new: Part, parts: Iterable[Part]) -> list[Part]:
    """Those of `parts` that are not dropped by `new`."""
    return [part for part in parts if part[:3] != new[:3] or part.part >= new.keep_from]


def bounded(parts: Sequence[Part], most: int) -> tuple[Part, ...]:
    """The newest of `parts`, `most` characters in all or the last one alone, and DROPPED in the place of each other."""
    kept: list[Part] = []
    for part in reversed(parts):
        most -= len(part.text)
        kept.append(part if most >= 0 or not kept else part._replace(text=DROPPED))
    return tuple(reversed(kept))


def save(session: Session, parts: Sequence[Part]) -> None:
    """Keep what was printed. A part that is there already, from an earlier try of this write, is replaced."""
    session.write_rows("output", COLUMNS, [part[:5] for part in parts if part.text], key=COLUMNS[:4])
    for part in parts:
        if part.keep_from:
            session.execute(
                "DELETE FROM output WHERE job_id = ? AND number = ? AND attempt = ? AND part < ?",
                (part.job_id, part.number, part.attempt, part.keep_from),
            )
