"""Restores asyncio's event loop policy and current loop after each run, once asyncio is loaded.

Otherwise `asyncio.get_event_loop()` fails in a sync task that runs after an `async def`.
"""

import sys
from typing import Any


class Loops:
    """The policy and the loop that a plugin's import has set, if any."""

    def __init__(self) -> None:
        self._policy: Any = None
        self._current: dict[str, Any] = {}

    def remember(self) -> None:
        """Accept the present policy and loop, which a plugin's import may have set."""
        events = sys.modules.get("asyncio.events")
        if events is not None:
            self._policy = events._event_loop_policy
            self._current = _current(self._policy).copy()

    def restore(self) -> None:
        """After a run, close the loop that it has left, and restore the previous policy and loop."""
        events: Any = sys.modules.get("asyncio.events")
        if events is None:
            return
        if events._get_running_loop() is not None:
            events._set_running_loop(None)
        policy = events._event_loop_policy
        current = _current(policy)
        if policy is self._policy and current == self._current:
            return
        loop = current.get("_loop")
        if loop is not None and loop is not self._current.get("_loop") and not loop.is_closed():
            loop.close()
        events._event_loop_policy = self._policy
        kept = _current(self._policy)
        kept.clear()
        kept.update(self._current)


def _current(policy: Any) -> dict[str, Any]:
    """The attributes of a policy for this thread, which include its loop."""
    local = getattr(policy, "_local", None)
    return {} if local is None else vars(local)
