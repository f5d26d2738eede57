"""Logs the problems of invalid jobs, each once."""

from jobd import logs

MAX_REMEMBERED = 1_000  # problems that have been logged; limits memory


class LoggedProblems:
    """The problems that have been logged. After MAX_REMEMBERED they are forgotten, and logged again if they persist."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def log(self, job: str, problem: str) -> None:
        """Log a problem of a job, if it is a new one."""
        if (job, problem) in self._logged:
            return
        if len(self._logged) >= MAX_REMEMBERED:
            self._logged.clear()
        self._logged.add((job, problem))
        logs.log("error", f"{job} is invalid and will not run: {problem}", job=job)
