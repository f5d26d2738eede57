"""The recalls and cancellations that the dispatch loop has to put into effect, and the commands that wait until it has.

A command is answered when its change is in effect: after the cycle that read the change, and after the dispatch loop
has given back each claimed job that the change concerns.
"""

from collections.abc import Iterable, Iterator
from functools import partial

from jobd.engine.claims import HeldClaims
from jobd.engine.messages import Cancel, Recall, Refresh, Refreshed


class Recalls:
    """The recalls that are sent and not answered, and the commands (Refresh) that are not answered."""

    def __init__(self) -> None:
        self._refreshes: list[Refresh] = []
        self._pending: set[int] = set()  # jobs whose Recalled has not arrived yet
        # job id → fencing token of the last Recall or Cancel sent, so that each is sent once per claim
        self._recall_tokens: dict[int, int] = {}
        self._cancel_tokens: dict[int, int] = {}

    def add(self, refresh: Refresh) -> None:
        """Note a command that waits."""
        self._refreshes.append(refresh)

    def recalled(self, job_id: int) -> None:
        """Note the answer to a Recall."""
        self._pending.discard(job_id)

    def cycle_ended(
        self, recall: Iterable[int], cancel: Iterable[int], held: HeldClaims
    ) -> Iterator[Recall | Cancel | Refreshed]:
        """The messages after a cycle that found these claimed jobs to be recalled, and these to be cancelled."""
        before, self._recall_tokens = self._recall_tokens, {job_id: held.token(job_id) for job_id in recall}
        for job_id, _ in self._recall_tokens.items() - before.items():
            self._pending.add(job_id)
            yield Recall(job_id)
        before, self._cancel_tokens = self._cancel_tokens, {job_id: held.token(job_id) for job_id in cancel}
        for job_id, _ in self._cancel_tokens.items() - before.items():
            yield Cancel(job_id)
        if not self._pending:
            yield from self.answers(None)

    def answers(self, problem: str | None) -> list[Refreshed]:
        """Answer all commands that wait. `problem` is the reason why the database cannot be used, if it cannot."""
        refreshes, self._refreshes = self._refreshes, []
        return [Refreshed(partial(refresh.reply, problem)) for refresh in refreshes]

    def clear(self) -> None:
        """Forget what was sent, because all claims are void. Commands go on waiting."""
        self._pending.clear()
        self._recall_tokens.clear()
        self._cancel_tokens.clear()
