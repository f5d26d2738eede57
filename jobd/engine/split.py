"""The bytes that come through the pipe of one worker, divided among its runs.

    worker    prints | writes a mark | tells the daemon what the mark is | begins the next run, prints | ...
    daemon    reads the pipe, then hears what it was told, then divides what it has read

A mark is drawn at random when its run is over: no task has run while it existed, so none can have printed it before
its place. A run begins after the mark before it was told. So of what was read before the last hearing, what follows the
last mark that was told was printed by the run in progress, or is the beginning of its mark, and nothing else.

A mark that was told and has not arrived was taken out of the pipe by a task. What has been read by then may be of one
run or the next: it is doubtful, and no run is given it.
"""

from jobd.wire import MARK_HEAD, MARK_SIZE

_FIRST = MARK_HEAD[:1]
Chunk = tuple[bytes, int]  # bytes of one run, and how many that stood before them were doubtful and have been dropped
NOTHING: Chunk = (b"", 0)


class Split:
    """What has been read and given to no run yet."""

    def __init__(self) -> None:
        self._read = bytearray()
        self._doubtful = 0  # so many of its first bytes

    def __len__(self) -> int:
        return len(self._read)

    def add(self, data: bytes) -> None:
        """This was read."""
        self._read += data

    def end(self, mark: bytes) -> Chunk | None:
        """The run in progress has told that it is over: the last of its output. None: its mark has not been read."""
        at = self._read.find(mark)
        if at < 0:
            return None
        share = self._take(at) if at else NOTHING
        del self._read[: len(mark)]
        self._doubtful = 0
        return share

    def doubt(self) -> None:
        """The mark of a run that is over has been lost: all that has been read may be of that run or the next."""
        self._doubtful = len(self._read)

    def so_far(self) -> Chunk:
        """More of the output of the run in progress. What it told must have been heard since the last `add`."""
        return self._take(self._mark_may_begin_at())

    def rest(self) -> Chunk:
        """The last output of a process that prints no more. A mark that was not told is no output."""
        at = len(self._read) - MARK_SIZE
        share = self._take(at if at >= 0 and self._read.startswith(MARK_HEAD, at) else len(self._read))
        self._read.clear()
        return share

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
