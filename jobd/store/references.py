"""A step of the schema, the fifth: references between jobs are stored by id, and nodes store the sizes of their pools.

Before, `job_options.after_jobs` contained names, which a rename broke. Each name gets the id of its job, or 0 if there
is none, in front of it (see jobd.dependency).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from jobd.dependency import Dependency
from jobd.errors import BadValue
from jobd.option_kinds import read_words, write_words
from jobd.store.migrations import Step


def store_references_by_id(placeholder: str) -> Step:
    """The statement of the step, and a function for the change that needs more than a statement."""
    return ["ALTER TABLE node ADD COLUMN pools TEXT NULL", partial(_identify, placeholder)]


def _identify(placeholder: str, cursor: Any) -> None:
    cursor.execute("SELECT job_id, after_jobs FROM job_options WHERE after_jobs IS NOT NULL")
    for job_id, text in cursor.fetchall():
        try:
            names = read_words(text, "after_jobs")
        except BadValue:
            continue  # the job stays invalid
        cursor.execute(
            "SELECT on_job_id, any_outcome, name FROM job_dependency LEFT JOIN job ON job.id = on_job_id"
            f" WHERE job_id = {placeholder} ORDER BY on_job_id",
            (job_id,),
        )
        known = cursor.fetchall()
        if all(any(name.startswith(f"{on}{how} ") for on, *_ in known for how in ("", ":finished")) for name in names):
            continue  # an earlier, interrupted run of this step has converted this row
        stored = [one.stored for one in _identified(names, known)]
        cursor.execute(
            f"UPDATE job_options SET after_jobs = {placeholder} WHERE job_id = {placeholder}",
            (write_words(stored), job_id),
        )


def _identified(texts: Sequence[str], known: Sequence[tuple[int, int, str | None]]) -> list[Dependency]:
    """The references for `texts`. A name that no job has gets the id of a known job that was renamed or removed."""
    wanted = [_parse(text) for text in texts]
    ids = {name: on for on, _, name in known}
    left = [on for on, _, name in known if name not in {name for name, _ in wanted}]
    found = []
    for name, any_outcome in wanted:
        on = ids.get(name) or (left.pop(0) if left else 0)
        found.append(Dependency(name, any_outcome, on))
    return found


def _parse(text: str) -> tuple[str, bool]:
    """(name, any outcome), in the syntax from before this step."""
    name, colon, word = text.rpartition(":")
    return (name, True) if colon and word == "finished" else (text, False)
