"""The messages between the dispatch loop and the keeper."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from jobd.claim import Claim, ClaimUpdate, OutputPart
from jobd.settings import Settings


class RunStarted(NamedTuple):
    """To the keeper: record the start of this run.

    It has lasted long enough to be shown as running. Or, with `before_start`, it is guarded: it starts only after this
    has been committed, and the answer is StartRecorded.
    `started` is wall-clock µs.
    """

    job_id: int
    token: int
    started: int
    before_start: bool = False


class OutputPrinted(NamedTuple):
    """To the keeper: output of a run in progress."""

    part: OutputPart


class Unresolved(NamedTuple):
    """To the keeper: this node cannot run the job, for example because its task is unknown; `update` releases it."""

    update: ClaimUpdate


class Recalled(NamedTuple):
    """To the keeper: the answer to Recall. A queued job has been given back; a run in progress continues."""

    job_id: int


class Refresh(NamedTuple):
    """To the keeper: a command has changed the database. `reply` returns in Refreshed when the change is in effect.

    Its argument is None, or the reason why the keeper cannot use the database.
    """

    reply: Callable[[str | None], None]


class ClaimMore(NamedTuple):
    """To the keeper: a pool runs low on claims and can use more."""


class Drain(NamedTuple):
    """To the keeper: stop claiming."""


class SignOff(NamedTuple):
    """To the keeper: all outcomes have been sent; write them, sign off and end."""


class Abandoned(NamedTuple):
    """To the keeper: the runs of these claims, which are no longer valid, have ended here."""

    claims: Mapping[int, tuple[int, int | None]]  # job id → fencing token, and the start of its run (wall µs) if any


class SettingsChanged(NamedTuple):
    """To the keeper: new settings and new plugin code are in effect."""

    settings: Settings


class NodeRegistered(NamedTuple):
    """To the dispatch loop: the database is open and this node is registered."""

    node: int


class LeaseRenewed(NamedTuple):
    """To the dispatch loop: a renewal of the lease, sent at `sent` (monotonic µs), is confirmed."""

    sent: int
    length: int  # of the lease, µs


class OtherNodes(NamedTuple):
    """To the dispatch loop: whether other nodes are registered, which may take over this node's claims."""

    exist: bool


class DatabaseState(NamedTuple):
    """To the dispatch loop: why the database cannot be used, for people; None: it can."""

    problem: str | None


class NewClaims(NamedTuple):
    """To the dispatch loop: new claims, to be run at their ready times. `more`: pools that may have more due jobs."""

    claims: list[Claim]
    more: frozenset[str]


class PoolsShared(NamedTuple):
    """To the dispatch loop: the pools that other nodes serve too."""

    pools: frozenset[str]


class StartRecorded(NamedTuple):
    """To the dispatch loop: a guarded run's start is committed, or (`held` false) its claim is no longer valid."""

    job_id: int
    token: int
    held: bool


class ClaimVanished(NamedTuple):
    """To the dispatch loop: this node no longer has this claim in the table. The answer is Abandoned."""

    job_id: int
    token: int


class Recall(NamedTuple):
    """To the dispatch loop: the job has changed; give it back if it has not started. The answer is Recalled."""

    job_id: int


class Cancel(NamedTuple):
    """To the dispatch loop: a user has cancelled the job's run."""

    job_id: int


class Refreshed(NamedTuple):
    """To the dispatch loop: the answer to Refresh. `reply` has its argument already."""

    reply: Callable[[], None]


class DeclaredDead(NamedTuple):
    """To the dispatch loop: another node has declared this one dead, so all its claims are void."""

    node: int  # the new id of this node


class KeeperEnded(NamedTuple):
    """To the dispatch loop: the keeper has ended, after a SignOff (`error` is None) or because of `error`."""

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
    | OtherNodes
    | DatabaseState
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
