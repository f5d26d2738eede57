"""What the dispatch loop and the keeper say to each other."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from jobd.claim import Claim, ClaimUpdate, OutputPart
from jobd.settings import Settings


class RunStarted(NamedTuple):
    """To the keeper: this run has been going on for a while, which others may want to see.

    With `first`: it is to begin, and waits until that is on record (the answer is StartRecorded).
    """

    job_id: int
    token: int
    started: int
    before_start: bool = False


class OutputPrinted(NamedTuple):
    """To the keeper: more of what a run in progress prints."""

    part: OutputPart


class Unresolved(NamedTuple):
    """To the keeper: this node has not the task of a job; `update` gives it back."""

    update: ClaimUpdate


class Recalled(NamedTuple):
    """To the keeper: the answer to Recall. What was still queued has been given back; what runs goes on."""

    job_id: int


class Refresh(NamedTuple):
    """To the keeper: a command changed something. `reply` travels back in Refreshed when it is in effect.

    It is called with None, or with what keeps the keeper from looking.
    """

    reply: Callable[[str | None], None]


class ClaimMore(NamedTuple):
    """To the keeper: a pool holds little and could use more."""


class Drain(NamedTuple):
    """To the keeper: claim no more."""


class SignOff(NamedTuple):
    """To the keeper: everything has been handed in; write it, sign off and end."""


class Abandoned(NamedTuple):
    """To the keeper: the lease ran out, or they have vanished; of these claims nothing runs here any more."""

    claims: Mapping[int, tuple[int, int | None]]  # job id → fencing token, and when its run began, if it had


class SettingsChanged(NamedTuple):
    """To the keeper: new settings are in force, and new plugin code with them."""

    settings: Settings


class NodeRegistered(NamedTuple):
    """To the dispatch loop: the database is open and this node is registered."""

    node: int


class LeaseRenewed(NamedTuple):
    """To the dispatch loop: the lease has been renewed."""


class NewClaims(NamedTuple):
    """To the dispatch loop: claimed, to be run at their moments. `more`: pools for which more would have been there."""

    claims: list[Claim]
    more: frozenset[str]


class PoolsShared(NamedTuple):
    """To the dispatch loop: these pools are served by other nodes too."""

    pools: frozenset[str]


class StartRecorded(NamedTuple):
    """To the dispatch loop: the beginning of this run is on record, or (with `held` false) the claim has passed on."""

    job_id: int
    token: int
    held: bool


class ClaimVanished(NamedTuple):
    """To the dispatch loop: the table says that this claim is not this node's any more. The answer is Abandoned."""

    job_id: int
    token: int


class Recall(NamedTuple):
    """To the dispatch loop: the job has changed; give it back if it has not started."""

    job_id: int


class Cancel(NamedTuple):
    """To the dispatch loop: a person wants the run in progress to end."""

    job_id: int


class Refreshed(NamedTuple):
    """To the dispatch loop: what there was to see is in effect, or cannot be looked at. `reply` knows which."""

    reply: Callable[[], None]


class DeclaredDead(NamedTuple):
    """To the dispatch loop: another node has declared this one dead; nothing it holds is its own any more."""

    node: int  # what this node is called from now on


class KeeperEnded(NamedTuple):
    """To the dispatch loop: the keeper has ended, by itself or because of `error`."""

    error: Exception | None


ToKeeper: TypeAlias = (
    ClaimUpdate
    | RunStarted
    | OutputPrinted
    | Unresolved
    | Recalled
    | Refresh
    | ClaimMore
    | Drain
    | SignOff
    | Abandoned
    | SettingsChanged
)
ToDispatch: TypeAlias = (
    NodeRegistered
    | LeaseRenewed
    | NewClaims
    | PoolsShared
    | StartRecorded
    | ClaimVanished
    | Recall
    | Cancel
    | Refreshed
    | DeclaredDead
    | KeeperEnded
)
