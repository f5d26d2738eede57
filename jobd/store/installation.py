"""The table `installation`: what all nodes of one database have in common.

`timezone` is the zone of jobs that name none, and the node whose jobd.toml says so (0: it is that of a machine). A node
says it at its start and at each reload: what jobd.toml names counts; else it is the zone of the machine, unless another
live node has it from its jobd.toml. `zone_rules` tells by which version of the zones' rules, and for which zone of the
installation, all due times have been looked at.
"""

from typing import NamedTuple

from jobd.store.store import Session


class ProposedZone(NamedTuple):
    """The zone that a node was configured with, or else that of its machine."""

    name: str
    of_machine: bool


def zone(session: Session) -> str | None:
    """The zone of jobs that name none; None: no node has said it yet."""
    return _read(session, "timezone")[0] or None


def agree_on_zone(session: Session, node: int, said: ProposedZone) -> str:
    """Say what zone this node has; the zone that is in effect from now on."""
    found, by = _read(session, "timezone", session.dialect.for_update)
    if said.of_machine and found and by not in (0, node) and _lives(session, by):
        return found
    _write(session, "timezone", said.name, 0 if said.of_machine else node)
    return said.name


def looked_at(session: Session) -> tuple[str, str]:
    """(version of the zones' rules, zone of the installation) for which all due times have been looked at."""
    version, _, zone = _read(session, "zone_rules")[0].partition(" ")
    return version, zone


def note_looked_at(session: Session, version: str, zone: str) -> None:
    """All due times have been looked at by the rules of this version, for this zone."""
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
