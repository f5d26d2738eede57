"""The output of attempts: the tail of each, in a separate table, so that the rows of the history stay small."""

from collections.abc import Iterable, Iterator, Sequence

from jobd.claim import OutputPart
from jobd.store.store import Session

COLUMNS = ("job_id", "number", "attempt", "part", "text")
PART = 250  # bytes that a part takes in memory without its text
MAX_PART = 256 * 1024  # characters of a part: within servers' limits even at four bytes per character
MAX_BATCH = 2**20  # characters in a statement


def kept_beside(new: OutputPart, parts: Iterable[OutputPart]) -> list[OutputPart]:
    """The `parts` that `new` does not drop."""
    return [part for part in parts if part[:3] != new[:3] or part.part >= new.keep_from]


def bounded(parts: Sequence[OutputPart], most: int) -> tuple[OutputPart, ...]:
    """The newest of `parts`: about `most` bytes or the whole last attempt, and a part that counts the dropped bytes."""
    first = len(parts)
    while first > 0:
        most -= len(parts[first - 1].text) + PART
        if most < 0 and parts[first - 1][:3] != parts[-1][:3]:
            break
        first -= 1
    return without_text(parts[:first]) + tuple(parts[first:])


def without_text(parts: Sequence[OutputPart]) -> tuple[OutputPart, ...]:
    """`parts` without their text: one part that counts the dropped bytes."""
    if not parts:
        return ()
    size = sum(part.dropped + len(part.text.encode("utf-8", "replace")) for part in parts)
    # Their `keep_from` must still delete output that has already been written.
    dropping = [part._replace(text="", dropped=0) for part in parts[:-1] if part.keep_from]
    return (*dropping, parts[-1]._replace(text="", dropped=size))


def save(session: Session, parts: Sequence[OutputPart]) -> None:
    """Write output. A part that exists from an earlier try of this transaction is replaced."""
    for some in _groups([(*part[:4], part.shown()) for part in parts if part.text or part.dropped]):
        session.write_rows("output", COLUMNS, some, key=COLUMNS[:4])
    for part in parts:
        if part.keep_from:
            session.execute(
                "DELETE FROM output WHERE job_id = ? AND number = ? AND attempt = ? AND part < ?",
                (part.job_id, part.number, part.attempt, part.keep_from),
            )


_Row = tuple[int, int, int, int, str]


def _groups(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """`rows` in groups small enough for one statement (max_allowed_packet of MySQL and MariaDB)."""
    group: list[_Row] = []
    size = 0
    for row in rows:
        if group and size + len(row[4]) > MAX_BATCH:
            yield group
            group, size = [], 0
        group.append(row)
        size += len(row[4])
    if group:
        yield group
