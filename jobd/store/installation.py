"""The table `installation`: settings shared by all nodes of one database.

`timezone` is the zone of jobs that name none, and the node whose jobd.toml names it (0: it is a machine's zone). A node
writes it at its start and at each reload: the zone of its jobd.toml; without one, its machine's zone, unless another
live node has written the zone of its jobd.toml. `zone_rules` is the version of the zone rules, and the installation's
zone, for which all due times have been checked.
"""

from typing import NamedTuple

from jobd.store.store import Session


class ProposedZone(NamedTuple):
    """The zone in a node's configuration, or else that of its machine."""

    name: str
    of_machine: bool


def zone(session: Session) -> str | None:
    """The zone of jobs that name none; None: no node has written it yet."""
    return _read(session, "timezone")[0] or None


def agree_on_zone(session: Session, node: int, proposed: ProposedZone) -> str:
    """Propose this node's zone; the zone that is in effect from now on."""
    found, by = _read(session, "timezone", session.dialect.for_update)
    if proposed.of_machine and found and by not in (0, node) and _lives(session, by):
        return found
    _write(session, "timezone", proposed.name, 0 if proposed.of_machine else node)
    return proposed.name


def last_zone_check(session: Session) -> tuple[str, str]:
    """(version of the zone rules, zone of the installation) for which all due times have been checked."""
    version, _, zone = _read(session, "zone_rules")[0].partition(" ")
    return version, zone


def note_zone_check(session: Session, version: str, zone: str) -> None:
    """Record that all due times have been checked for this version of the zone rules and this zone."""
    _write(session, "zone_rules", f"{version} {zone}", 0)


def _lives(session: Session, node: int) -> bool:
    return bool(session.rows("SELECT 1 FROM node WHERE id = ? AND stopped_time IS NULL", (node,)))


def _read(session: Session, name: str, lock: str = "") -> tuple[str, int]:
    found = session.rows("SELECT value, node_id FROM installation WHERE name = ?" + lock, (name,))
    return found[0] if found else ("", 0)


def _write(session: Session, name: str, value: str, node: int) -> None:
    cursor = session.execute("UPDATE installation SET value = ?, node_id = ? WHERE name = ?", (value, node, name))
    if cursor.rowcount == 0:  # the row that the schema made has been deleted
        session.execute("INSERT INTO installation (name, value, node_id) VALUES (?, ?, ?)", (name, value, node))
