"""Recalls and cancellations are sent once per claim, and commands are answered when all are in effect: pure."""

from jobd.engine.claims import HeldClaims
from jobd.engine.messages import Cancel, Recall, Refresh, Refreshed
from jobd.engine.recalls import Recalls


def held(**tokens: int) -> HeldClaims:
    claims = HeldClaims({})
    for name, token in tokens.items():
        claims.add(int(name.removeprefix("job")), token, "default")
    return claims


def sent(recalls: Recalls, recall: set[int], cancel: set[int], claims: HeldClaims) -> list[object]:
    return [*recalls.cycle_ended(recall, cancel, claims)]


def test_each_claim_is_recalled_and_cancelled_once() -> None:
    recalls = Recalls()
    assert sent(recalls, {1}, {2}, held(job1=10, job2=20)) == [Recall(1), Cancel(2)]
    assert sent(recalls, {1}, {2}, held(job1=10, job2=20)) == []
    assert sent(recalls, {1}, {2}, held(job1=11, job2=20)) == [Recall(1)], "a new claim of the job"
    assert sent(recalls, set(), set(), held(job1=11)) == []
    assert sent(recalls, {1}, set(), held(job1=11)) == [Recall(1)], "another change of the job"


def test_a_command_is_answered_when_the_last_recall_is_in_effect() -> None:
    recalls = Recalls()
    answers: list[str | None] = []
    recalls.add(Refresh(answers.append))
    assert {*sent(recalls, {1, 2}, set(), held(job1=10, job2=20))} == {Recall(1), Recall(2)}
    recalls.recalled(1)
    assert sent(recalls, {1, 2}, set(), held(job1=10, job2=20)) == []
    recalls.recalled(2)
    (answer,) = sent(recalls, set(), set(), held())
    assert isinstance(answer, Refreshed)
    assert answers == []
    answer.reply()
    assert answers == [None]
    assert sent(recalls, set(), set(), held()) == [], "each command is answered once"


def test_commands_learn_why_the_database_cannot_be_used() -> None:
    recalls = Recalls()
    answers: list[str | None] = []
    for _ in range(2):
        recalls.add(Refresh(answers.append))
    for answer in recalls.answers("it is away"):
        answer.reply()
    assert answers == ["it is away"] * 2


def test_commands_go_on_waiting_after_this_node_was_declared_dead() -> None:
    recalls = Recalls()
    answers: list[str | None] = []
    recalls.add(Refresh(answers.append))
    sent(recalls, {1}, set(), held(job1=10))
    recalls.clear()
    (answer,) = sent(recalls, set(), set(), held())
    assert isinstance(answer, Refreshed)
    answer.reply()
    assert answers == [None]
