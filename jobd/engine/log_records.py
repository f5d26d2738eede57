"""Parses the records of logging libraries in the output of a worker (see jobd.wire)."""

import json

from jobd.wire import LEVELS, MAX_RECORD_PIECE

MAX_PIECES = 64  # of one record; a record of MAX_RECORD characters has fewer
MAX_OPEN = 8  # incomplete records
MAX_SIZE = 256 * 1024  # bytes of all pieces; two of the longest records, written as escapes, are shorter
_NOT_CLOSED = 12  # characters of the longest escape, a surrogate pair
Record = tuple[str, str]  # level and message


class Records:
    """The records of one run. Long ones arrive in pieces."""

    def __init__(self) -> None:
        self.size = 0  # bytes of the pieces in `_open`
        self._open: dict[bytes, list[bytes]] = {}  # pieces, by level and key

    def read(self, line: bytes) -> list[Record] | None:
        """The records completed by `line`, the text after a LEVEL_MARK. None: it is the task's own text, no record."""
        if len(line) > MAX_RECORD_PIECE:
            return None
        head, _, text = line.partition(b" ")
        if head.decode("ascii", "replace") in LEVELS:
            return _whole(head, text)
        for sign in (b"+", b"="):
            level, found, key = head.partition(sign)
            if found and key.isdigit() and level.decode("ascii", "replace") in LEVELS:
                return self._piece(level + b" " + key, text, last=sign == b"=")
        return None

    def end(self) -> list[Record]:
        """Remove and return the incomplete records, as far as they have arrived."""
        left = [_closed(name, pieces) for name, pieces in self._open.items()]
        self._open.clear()
        self.size = 0
        return left

    def _piece(self, name: bytes, text: bytes, last: bool) -> list[Record] | None:
        pieces = self._open.setdefault(name, [])
        pieces.append(text)
        self.size += len(text)
        if not last and len(pieces) < MAX_PIECES:
            return self.end() if len(self._open) > MAX_OPEN or self.size > MAX_SIZE else []
        del self._open[name]
        self.size -= sum(map(len, pieces))
        return [_closed(name, pieces)]


def _whole(level: bytes, text: bytes) -> list[Record] | None:
    message = _message(text)
    return None if message is None else [(level.decode(), message)]


def _closed(name: bytes, pieces: list[bytes]) -> Record:
    """The record made of these pieces. If the last ones are missing, its message is cut."""
    level, text = name.partition(b" ")[0].decode(), b"".join(pieces)
    for short in range(_NOT_CLOSED):
        message = _message(text[: len(text) - short] + (b"" if short == 0 and text.endswith(b'"') else b'"'))
        if message is not None:
            return level, message
    return level, ""


def _message(text: bytes) -> str | None:
    if not text.startswith(b'"'):
        return None
    try:
        return str(json.loads(text))
    except ValueError:
        return None
