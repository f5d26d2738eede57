"""The keeper in a world of its own."""

from pathlib import Path

from jobd.clock import MILLISECOND, SECOND
from tests.engine.world import World


def test_many_rows_of_a_foreign_program_are_planned_within_a_poll(tmp_path: Path) -> None:
    world = World(tmp_path, poll=SECOND)
    rows = [(f"job{number}", "0 0 1 1 *") for number in range(1_700)]
    world.store.transact(lambda session: session.write_rows("job", ("name", "interval"), rows))
    world.pass_time(SECOND + 10 * MILLISECOND)
    counted = world.store.transact(lambda session: session.rows("SELECT count(*) FROM schedule WHERE due_time > 0"))
    assert counted == [(1_700,)]
