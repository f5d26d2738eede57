"""The table `node`: one row per start of a daemon, never reused. It shows which nodes are alive."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jobd.store.dialect import increment_or_restart
from jobd.store.rows import read_pools
from jobd.store.store import Session


class NodeRow(NamedTuple):
    """A node that has neither signed off nor been declared dead. `heartbeat` is a counter, not a time."""

    id: int
    host: str
    pid: int
    instance: str
    heartbeat: int
    started: int
    lock: str | None  # the name of its lock on its machine
    pools: Mapping[str, int]  # its workers, by pool


def register(
    session: Session,
    host: str,
    pid: int,
    version: str,
    instance: str,
    now: int,
    lock: str | None = None,
    pools: Mapping[str, int] | None = None,
) -> int:
    """Register a new node, with its lock and its workers by pool; its id. `now` is µs."""
    session.execute(
        "INSERT INTO node (host, pid, version, instance, started_time, heartbeat, lock_name, pools)"
        " VALUES (?, ?, ?, ?, ?, 1, ?, ?)",
        (host[:255], pid, version, instance, now, lock, json.dumps(dict(pools or {}))),
    )
    found = session.rows(
        "SELECT id FROM node WHERE instance = ? AND started_time = ? AND pid = ? ORDER BY id DESC LIMIT 1",
        (instance, now, pid),
    )
    return int(found[0][0])


def beat(session: Session, node: int) -> bool:
    """Advance the heartbeat; False if another node has declared this one dead."""
    heartbeat = increment_or_restart("heartbeat", "started_time")
    sql = f"UPDATE node SET heartbeat = {heartbeat} WHERE id = ? AND stopped_time IS NULL"
    cursor = session.execute(sql, (node,))
    return bool(cursor.rowcount == 1)


def record_pools(session: Session, node: int, pools: Mapping[str, int]) -> None:
    """Record the current number of workers of the node in each pool, for the other nodes."""
    session.execute("UPDATE node SET pools = ? WHERE id = ?", (json.dumps(dict(pools)), node))


def is_registered(session: Session, node: int) -> bool:
    """Whether this node is not declared dead. Its row is locked, so that stays true until the transaction ends."""
    sql = "SELECT 1 FROM node WHERE id = ? AND stopped_time IS NULL" + session.dialect.for_update
    return bool(session.rows(sql, (node,)))


def live(session: Session) -> list[NodeRow]:
    """The nodes that have neither signed off nor been declared dead."""
    # served by the index node_stopped
    found = session.rows(
        "SELECT id, host, pid, instance, heartbeat, started_time, lock_name, pools FROM node"
        " WHERE stopped_time IS NULL ORDER BY id"
    )
    return [NodeRow._make((*row[:-1], read_pools(row[-1]))) for row in found]


def look_up(session: Session, ids: Sequence[int]) -> dict[int, tuple[int, str]]:
    """The heartbeat counter and the instance of those of these nodes that exist."""
    found = session.rows_where_in("SELECT id, heartbeat, instance FROM node WHERE ", "id", ids)
    return {node: (heartbeat, instance) for node, heartbeat, instance in found}


def declare_dead(session: Session, node: int, heartbeat: int, now: int) -> bool:
    """Declare a node dead if its heartbeat is still `heartbeat`; False if it is not, or the node has stopped."""
    cursor = session.execute(
        "UPDATE node SET stopped_time = ? WHERE id = ? AND heartbeat = ? AND stopped_time IS NULL",
        (now, node, heartbeat),
    )
    return bool(cursor.rowcount == 1)


def leave(session: Session, node: int, now: int) -> None:
    """Sign a node off."""
    session.execute("UPDATE node SET stopped_time = ? WHERE id = ? AND stopped_time IS NULL", (now, node))
