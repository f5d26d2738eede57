"""The output of a run: its tail for the history and its lines for the daemon's log, both with a size limit.

So a run that prints a gigabyte fills neither memory nor disk nor log. The history gets the last bytes, with a notice
of the bytes cut before them; the log gets the first bytes, and then one warning. All bytes held count in the daemon's
memory budget; if that is crowded, the tail is cut to a few lines.
"""

from jobd.engine.budget import Budget
from jobd.engine.log_records import Records
from jobd.wire import LEVEL_MARK, MAX_RECORD_PIECE

MAX_LINE = 16 * 1024  # bytes; longer lines are split in the log
MIN_TAIL = 4 * 1024  # bytes of a tail that are kept even if the budget is crowded
_MARK = LEVEL_MARK.encode()
Lines = list[tuple[str, str]]  # level and text, for the log


class Output:
    """The output of one attempt. `limit`: how many bytes are kept for the history, and how many are logged."""

    def __init__(self, limit: int, budget: Budget | None = None) -> None:
        self.dropped = 0  # bytes dropped by `shrink` since the last `take`
        self._budget = Budget() if budget is None else budget
        self._counted = 0  # bytes counted in the budget
        self._limit = limit
        self._tail = bytearray()
        self._before = 0  # bytes that preceded those in the tail
        self._cut = False  # the tail was cut because of the limit since the last `take`
        self._logged = 0  # bytes
        self._line = b""  # the last line, still incomplete
        self._records = Records()

    def feed(self, data: bytes) -> Lines:
        """Add printed bytes. Returns the lines that they complete, for the log."""
        lines = (self._line + data).split(b"\n")
        self._line = lines.pop()
        passed: Lines = []
        for line in lines:
            passed += self._complete(line)
        while len(self._line) > MAX_LINE:
            # Do not split where a record may begin.
            start = self._line.rfind(_MARK, len(self._line) - MAX_RECORD_PIECE)
            at = _boundary(self._line, MAX_LINE if start < 0 else min(start, MAX_LINE))
            passed += self._piece(self._line[:at])
            self._line = self._line[at:]
        self._count()
        if self._budget.crowded:
            passed += self._end_records()
            self.shrink(MIN_TAIL)
        return passed

    def end(self) -> Lines:
        """End the output. Returns its remaining lines, for the log."""
        rest, self._line = self._line, b""
        passed = self._complete(rest) if rest else []
        passed += self._end_records()
        self._count()
        return passed

    def _end_records(self) -> Lines:
        passed: Lines = []
        for record in self._records.end():
            passed += self._record(*record)
        return passed

    def add_notice(self, text: str) -> Lines:
        """Add a line from jobd itself, as a warning in the log."""
        line, self._line = self._line, b""
        passed = self._complete(line) if line else []
        self._keep(text.encode() + b"\n")
        self._count()
        return [*passed, ("warning", text)]

    def shrink(self, most: int) -> None:
        """Drop all but the last `most` bytes of the tail, from a line's start on, because the budget is crowded."""
        excess = len(self._tail) - most
        if excess <= 0:
            return
        line_end = self._tail.find(b"\n", excess)
        dropped = self._cut_to(most if line_end < 0 else len(self._tail) - line_end - 1)
        self.dropped += dropped
        self._budget.count_dropped(dropped)
        self._count()

    def take(self) -> str:
        """Remove and return the tail of the output since the last call. Its first line is a notice if it was cut."""
        self._trim()
        text = self._text()
        self._before += len(self._tail)
        self._tail.clear()
        self._cut, self.dropped = False, 0
        self._count()
        return text

    def close(self) -> None:
        """Discard all output and free its budget."""
        if self._counted:
            self._line = b""
            self._records.end()
            self.take()

    def _count(self) -> None:
        """Update the budget to the bytes held now."""
        held = len(self._tail) + len(self._line) + self._records.size
        self._budget.printing += held - self._counted
        self._counted = held

    def _text(self) -> str:
        kept = self._tail.decode("utf-8", "replace").replace("\0", "\ufffd")
        if not self._cut:
            return kept
        kept = kept.partition("\n")[2] or kept
        return f"[jobd: {self._before:,} bytes of output before this were cut]\n{kept}"

    def _complete(self, line: bytes) -> Lines:
        """Add a complete line. It may end with a record, after text that another writer printed without a line end."""
        if _MARK not in line:
            return self._plain(line)
        before, _, last = line.rpartition(_MARK)
        records = self._records.read(last)
        if records is None:
            return self._plain(line)
        passed = self._plain(before) if before else []
        for record in records:
            passed += self._record(*record)
        return passed

    def _plain(self, line: bytes) -> Lines:
        passed: Lines = []
        while len(line) > MAX_LINE:
            at = _boundary(line, MAX_LINE)
            passed += self._piece(line[:at])
            line = line[at:]
        self._keep(line + b"\n")
        return passed + self._to_log("info", line.decode("utf-8", "replace"), len(line))

    def _piece(self, piece: bytes) -> Lines:
        """Add a part of a long line. It is unchanged in the history, and a line of its own in the log."""
        self._keep(piece)
        return self._to_log("info", piece.decode("utf-8", "replace"), len(piece))

    def _record(self, level: str, message: str) -> Lines:
        text = message.encode("utf-8", "replace")
        self._keep(text + b"\n")
        return self._to_log(level, text.decode(), len(text))

    def _to_log(self, level: str, text: str, size: int) -> Lines:
        """The text if it is to be logged; beyond the limit one warning, then nothing."""
        if self._logged > self._limit:
            return []
        self._logged += size + 1
        if self._logged > self._limit:
            return [("warning", f"[jobd: more than {self._limit:,} bytes of output; the rest is not logged]")]
        return [(level, text)]

    def _keep(self, data: bytes) -> None:
        self._tail += data
        if len(self._tail) > 2 * self._limit:
            self._trim()

    def _trim(self) -> None:
        self._cut |= self._cut_to(self._limit) > 0

    def _cut_to(self, most: int) -> int:
        """Cut the tail to its last `most` bytes, plus up to 3 to keep a character whole. Returns the bytes cut."""
        excess = len(self._tail) - most
        if excess <= 0:
            return 0
        if most:
            excess = _boundary(self._tail, excess)
        del self._tail[:excess]
        self._before += excess
        return excess


def _boundary(data: bytes | bytearray, at: int) -> int:
    """The last index, at most `at` and at least `at` - 3, that does not split a UTF-8 character; else `at`."""
    for place in range(at, max(0, at - 4), -1):
        if data[place] & 0xC0 != 0x80:
            return place
    return at
