"""What the dispatch loop and the keeper say to each other."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jobd.config import Settings
from jobd.engine.queue import Item
from jobd.store.output import Part
from jobd.store.schedule_table import Settlement


class Began(NamedTuple):
    """To the keeper: this run has been going on for a while, which others may want to see.

    With `first`: it is to begin, and waits until that is on record (the answer is Marked).
    """

    job_id: int
    token: int
    started: int
    first: bool = False


class Printed(NamedTuple):
    """To the keeper: more of what a run in progress prints."""

    part: Part


class Unresolved(NamedTuple):
    """To the keeper: this node has not the task of a job; `settlement` gives it back."""

    settlement: Settlement


class Recalled(NamedTuple):
    """To the keeper: the answer to Recall. What was still queued has been given back; what runs goes on."""

    job_id: int


class Look(NamedTuple):
    """To the keeper: a command changed something. `reply` travels back in Looked when it is in effect.

    It is called with None, or with what keeps the keeper from looking.
    """

    reply: Callable[[str | None], None]


class Hungry(NamedTuple):
    """To the keeper: a pool holds little and could use more."""

    pool: str


class Drain(NamedTuple):
    """To the keeper: claim no more."""


class Leave(NamedTuple):
    """To the keeper: everything has been handed in; write it, sign off and end."""


class Abandoned(NamedTuple):
    """To the keeper: the lease ran out, or they have vanished; of these claims nothing runs here any more."""

    claims: Mapping[int, tuple[int, int | None]]  # job id → fencing token, and when its run began, if it had


class Retune(NamedTuple):
    """To the keeper: new settings are in force, and new plugin code with them."""

    settings: Settings


class Opened(NamedTuple):
    """To the dispatch loop: the database is open and this node is registered."""

    node: int


class Renewed(NamedTuple):
    """To the dispatch loop: the lease has been renewed."""


class Claims(NamedTuple):
    """To the dispatch loop: claimed, to be run at their moments. `more`: pools for which more would have been there."""

    items: list[Item]
    more: frozenset[str]


class Shared(NamedTuple):
    """To the dispatch loop: these pools are served by other nodes too."""

    pools: frozenset[str]


class Marked(NamedTuple):
    """To the dispatch loop: the beginning of this run is on record, or (with `held` false) the claim has passed on."""

    job_id: int
    token: int
    held: bool


class Vanished(NamedTuple):
    """To the dispatch loop: the table says that this claim is not this node's any more. The answer is Abandoned."""

    job_id: int
    token: int


class Recall(NamedTuple):
    """To the dispatch loop: the job has changed; give it back if it has not started."""

    job_id: int


class Cancel(NamedTuple):
    """To the dispatch loop: a person wants the run in progress to end."""

    job_id: int


class Looked(NamedTuple):
    """To the dispatch loop: what there was to see is in effect, or cannot be looked at. `reply` knows which."""

    reply: Callable[[], None]


class Buried(NamedTuple):
    """To the dispatch loop: another node has declared this one dead; nothing it holds is its own any more."""

    node: int  # what this node is called from now on


class Left(NamedTuple):
    """To the dispatch loop: the keeper has ended, by itself or because of `error`."""

    error: Exception | None
