"""What a run prints: its tail for the history, its lines for the daemon's log, both bounded.

A run may print a gigabyte: it costs neither memory nor disk nor log. The tail keeps the last bytes and says what was
cut; the log gets the first ones and one line that says so.
"""

import json

from jobd.wire import LEVEL_MARK

MAX_LINE = 16 * 1024
_MARK = LEVEL_MARK.encode()


class Output:
    """The output of one attempt. `limit`: how many bytes are kept, and how many are passed on to the log."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tail = bytearray()
        self._before = 0  # bytes that came before those in the tail
        self._cut = False  # some of them since `take` was last called
        self._logged = 0
        self._line = b""
        self.fresh = False  # something was printed since `take` was last called

    def feed(self, data: bytes) -> list[tuple[str, str]]:
        """Take what was printed; the (level, line)s that it completes, for the log."""
        lines = (self._line + data).split(b"\n")
        self._line = lines.pop()
        if len(self._line) > MAX_LINE:
            lines.append(self._line)
            self._line = b""
        return self._passed_on(lines)

    def end(self) -> list[tuple[str, str]]:
        """The output is complete; what is left of its last line."""
        rest, self._line = self._line, b""
        return self._passed_on([rest]) if rest else []

    def take(self) -> str:
        """What has come since this was last called: its tail, headed by a line that says what was cut, if any was."""
        self._trim()
        text = self._text()
        self._before += len(self._tail)
        self._tail.clear()
        self._cut = False
        self.fresh = False
        return text

    def _text(self) -> str:
        kept = self._tail.decode("utf-8", "replace").replace("\0", "\ufffd")
        if not self._cut:
            return kept
        kept = kept.partition("\n")[2] or kept
        return f"[jobd: {self._before:,} bytes of output before this were cut]\n{kept}"

    def _passed_on(self, lines: list[bytes]) -> list[tuple[str, str]]:
        passed = []
        for raw in lines:
            level, line = _read(raw) if raw.startswith(_MARK) else ("info", raw)
            self._keep(line + b"\n")
            if self._logged <= self._limit:
                self._logged += len(line) + 1
                over = self._logged > self._limit
                passed.append(
                    ("warning", f"[jobd: more than {self._limit:,} bytes of output; the rest is not logged]")
                    if over
                    else (level, line.decode("utf-8", "replace"))
                )
        return passed

    def _keep(self, data: bytes) -> None:
        self._tail += data
        self.fresh = True
        if len(self._tail) > 2 * self._limit:
            self._trim()

    def _trim(self) -> None:
        excess = len(self._tail) - self._limit
        if excess > 0:
            del self._tail[:excess]
            self._before += excess
            self._cut = True


def _read(raw: bytes) -> tuple[str, bytes]:
    """The level and the message of a record that a logging library made; what is not one is an ordinary line."""
    level, _, message = raw[1:].partition(b" ")
    try:
        text = json.loads(message)
        return level.decode("ascii"), str(text).encode("utf-8", "replace")
    except ValueError:
        return "info", raw
