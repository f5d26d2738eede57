"""How the daemon's two threads talk: messages in order, and a descriptor to wait on. Nothing else is shared."""

import os
import select
from collections import deque
from typing import Generic, TypeVar

from jobd.clock import SECOND

Message = TypeVar("Message")


class Mailbox(Generic[Message]):
    """Messages for one reader from one writer.

    A reader that is about to look anyway sets `patient`: then only urgent messages make `descriptor` readable. (To be
    woken for each outcome would cost more than the outcomes themselves.) When it stops being patient it must look at
    `pending` before it waits: a message may have come unannounced just before.
    """

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.patient = False
        self._messages: deque[Message] = deque()

    def put(self, message: Message, urgent: bool = True) -> None:
        """Add a message."""
        self._messages.append(message)
        if urgent or not self.patient:
            os.eventfd_write(self.descriptor, 1)

    def pending(self) -> bool:
        """Whether there are messages."""
        return bool(self._messages)

    def wait(self, timeout: int | None) -> None:
        """Wait until `descriptor` is readable, or `timeout` microseconds have passed."""
        select.select([self.descriptor], [], [], None if timeout is None else timeout / SECOND)

    def take(self) -> list[Message]:
        """All messages, oldest first."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            pass
        taken = []
        while self._messages:
            taken.append(self._messages.popleft())
        return taken
