"""One turn of the keeper: what is written in it does not depend on what else is."""

from pathlib import Path

from jobd.engine.turn import Work, turn
from jobd.job import Plan, Run
from jobd.store import nodes
from jobd.store import schedule_table as table
from jobd.store.output import Part
from jobd.store.schedule_table import Settlement
from jobd.store.store import Session, Store
from jobd.store.url import parse_url
from tests import servers
from tests.engine.world import settings


def test_what_was_printed_last_drops_what_was_printed_before_it_in_the_same_turn(tmp_path: Path) -> None:
    store = Store(parse_url(servers.sqlite_url(tmp_path)))

    def claimed(session: Session) -> tuple[int, Plan]:
        node = nodes.register(session, "host", 1, "1", "here", 1)
        session.execute("INSERT INTO job (name, runonce) VALUES ('prints', 1)")
        table.replan(session, [Plan(1, due=10, ready=10, anchor=10)])
        session.execute("DELETE FROM job_change")
        return node, table.claim(session, node, "default", 20, 1)[0].plan

    node, plan = store.transact(claimed)
    run = Run(1, 1, 10, 20, 30, 1, "succeeded", node)
    after = plan._replace(node=0, ready=None, number=2)
    end = Settlement(node, plan.token, after, run, (Part(1, 1, 1, 1, "the end", keep_from=1),))
    before = Part(1, 1, 1, 0, "before", token=plan.token)
    work = Work(
        node=node, wall=40, until=50, urgent=40, call=40, beat=False, look_around=False, look_for_gone=False,
        settlements=[end], began=[], printed=[before], held={}, begun={}, sweep=None, pools=None,
        wanted={}, shares={}, priorities={},
    )  # fmt: skip
    store.transact(lambda session: turn(session, work, settings(tmp_path, poll=1_000_000)))
    assert store.transact(lambda session: session.rows("SELECT text FROM output")) == [("the end",)]
    store.close()
