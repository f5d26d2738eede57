"""How the daemon's two threads talk: messages in order, and a descriptor to wait on. Nothing else is shared."""

import os
from collections import deque


class Mailbox:
    """Messages for one reader from one writer; `descriptor` is readable while there may be any."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._messages: deque[object] = deque()

    def put(self, message: object, wake: bool = True) -> None:
        """Add a message; `wake=False` when the reader need not look at once."""
        self._messages.append(message)
        if wake:
            os.eventfd_write(self.descriptor, 1)

    def take(self) -> list[object]:
        """All messages, oldest first."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            pass
        taken = []
        while self._messages:
            taken.append(self._messages.popleft())
        return taken

    def close(self) -> None:
        """Free the descriptor."""
        os.close(self.descriptor)
