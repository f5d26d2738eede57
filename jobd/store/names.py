"""The names of jobs, and the error for a name that no job has."""

from collections.abc import Iterable

from jobd.errors import JobdError
from jobd.job import check_name

LIVE_NAMES = "SELECT name FROM job WHERE is_delete = 0 LIMIT 10000"  # enough for a hint


def no_such_job(name: str, names: Iterable[str]) -> JobdError:
    """The error for a name that is not in `names`, with the nearest of them as a hint.

    Raises BadValue if no job can have that name.
    """
    check_name(name)
    from difflib import get_close_matches

    near = get_close_matches(name, list(names), 1)
    return JobdError(f"there is no job named {name!r}", f"did you mean {near[0]!r}?" if near else "see `jobd list`")
