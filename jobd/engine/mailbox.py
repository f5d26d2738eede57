"""A mailbox from one of the daemon's threads to the other: messages in order, and a descriptor to wait for."""

import os
import select
from collections import deque
from typing import Generic, TypeVar

from jobd.clock import SECOND

Message = TypeVar("Message")


class Mailbox(Generic[Message]):
    """Messages from one writer to one reader.

    A reader that will soon read anyway sets `patient`. Then only urgent messages make `descriptor` readable, because
    waking up for each outcome would cost more than handling it. After a reader clears `patient`, it must check
    `pending` before it waits: a message may have arrived without a wake-up.
    """

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.patient = False
        self._messages: deque[Message] = deque()

    def put(self, message: Message, urgent: bool = True) -> None:
        """Add a message. If it is not `urgent`, it does not wake a patient reader."""
        self._messages.append(message)
        if urgent or not self.patient:
            os.eventfd_write(self.descriptor, 1)

    def pending(self) -> bool:
        """Whether the mailbox contains messages."""
        return bool(self._messages)

    def wait(self, timeout: int | None) -> None:
        """Wait until `descriptor` is readable, or `timeout` microseconds have passed; None: no limit."""
        select.select([self.descriptor], [], [], None if timeout is None else timeout / SECOND)

    def take(self) -> list[Message]:
        """Remove and return all messages, oldest first."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            pass
        taken = []
        while self._messages:
            taken.append(self._messages.popleft())
        return taken
