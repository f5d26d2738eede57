"""Splits the bytes from the pipe of one worker into the output of its runs.

    worker    prints | writes a marker | sends the marker in a message | starts the next run, prints | ...
    daemon    reads the pipe, then receives the messages, then splits the bytes that it has read

A marker is drawn at random when its run has ended. No task runs while it is known, so none can have printed it earlier.
A run starts after the previous marker was sent. So of the bytes read before the messages were last received, those
after the last received marker are output of the run in progress, or the start of its own marker.

If a marker was received in a message but is not in the pipe, a task has read it out of the pipe. The bytes read until
then may be from that run or the next one: they are doubtful, and no run gets them.
"""

from jobd.wire import MARK_HEAD, MARK_SIZE

_FIRST = MARK_HEAD[:1]
Chunk = tuple[bytes, int]  # bytes of one run, and the number of doubtful bytes dropped before them
NO_OUTPUT: Chunk = (b"", 0)


class Split:
    """The bytes that were read and are not assigned to a run yet."""

    def __init__(self) -> None:
        self._read = bytearray()
        self._doubtful = 0  # the number of doubtful bytes at the start of `_read`

    def __len__(self) -> int:
        return len(self._read)

    def add(self, data: bytes) -> None:
        """Add bytes read from the pipe."""
        self._read += data

    def end(self, mark: bytes) -> Chunk | None:
        """Take the last output of the run in progress, up to its received marker. None: the marker was not read yet."""
        at = self._read.find(mark)
        if at < 0:
            return None
        chunk = self._take(at) if at else NO_OUTPUT
        del self._read[: len(mark)]
        self._doubtful = 0
        return chunk

    def doubt(self) -> None:
        """Mark all bytes read so far as doubtful, because the marker of an ended run is lost."""
        self._doubtful = len(self._read)

    def so_far(self) -> Chunk:
        """Take output of the run in progress. All messages must have been received since the last `add`."""
        return self._take(self._mark_may_begin_at())

    def rest(self) -> Chunk:
        """Take the last output of a process that has ended, without a marker that was not sent in a message."""
        at = len(self._read) - MARK_SIZE
        chunk = self._take(at if at >= 0 and self._read.startswith(MARK_HEAD, at) else len(self._read))
        self._read.clear()
        return chunk

    def _take(self, count: int) -> Chunk:
        doubtful = min(self._doubtful, count)
        data = bytes(self._read[doubtful:count])
        del self._read[:count]
        self._doubtful -= doubtful
        return data, doubtful

    def _mark_may_begin_at(self) -> int:
        size = len(self._read)
        at = self._read.find(_FIRST, max(0, size - MARK_SIZE))
        while at >= 0 and not MARK_HEAD.startswith(self._read[at : at + len(MARK_HEAD)]):
            at = self._read.find(_FIRST, at + 1)
        return size if at < 0 else at
