"""A database outage as the keeper sees it: when to retry, and which errors to log. All moments are monotonic µs."""

from jobd.clock import MILLISECOND, MINUTE, SECOND, doubled

RETRY_FIRST, RETRY_LAST = 50 * MILLISECOND, 5 * SECOND  # shortest and longest pause between retries
RETRY_ON_REQUEST = SECOND  # the longest pause after a failure if a command waits for a reply
MAX_LOGGED_REASONS = 10  # different errors that are logged per minute of an outage


class Outage:
    """The current outage, if there is one. A retry follows each failure, after a pause that doubles."""

    def __init__(self) -> None:
        self.problem: str | None = None  # the latest error of the current outage, for people
        self.retry_at = 0
        self._failures = 0  # in a row
        self._failed_at = 0  # the latest failure
        self._logged: dict[str, int] = {}  # error → when it was logged

    def failed(self, problem: str, now: int) -> bool:
        """Note a failure; return whether to log it. Each different error is logged at once and then once a minute."""
        self.retry_at = now + doubled(RETRY_FIRST, self._failures, RETRY_LAST)
        self._failed_at = now
        self._failures += 1
        self.problem = problem
        if now - max(self._logged.values(), default=now) >= MINUTE:
            self._logged.clear()
        if problem in self._logged or len(self._logged) >= MAX_LOGGED_REASONS:
            return False
        self._logged[problem] = now
        return True

    def hurry(self) -> None:
        """Retry sooner, because a command waits for a reply."""
        self.retry_at = min(self.retry_at, self._failed_at + RETRY_ON_REQUEST)

    def succeeded(self) -> bool:
        """Note a success; return whether it ends an outage."""
        ended, self.problem, self._failures = self.problem is not None, None, 0
        if ended:
            self._logged.clear()
        return ended
