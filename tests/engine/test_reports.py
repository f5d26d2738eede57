"""What a Processor reports counts in the memory budget, and output stays with its run while too much waits."""

from jobd import lifecycle
from jobd.claim import Claim, ClaimUpdate
from jobd.engine.budget import LIMIT, Budget, weight, weight_of
from jobd.engine.messages import OutputPrinted, RunStarted, ToKeeper, Unresolved
from jobd.engine.reports import Reports
from jobd.engine.worker import Execution
from jobd.job import Job, JobState
from tests.engine.harness import START

STATE = JobState(7, START, START, anchor=START, node=3, token=9)
CLAIM = Claim(Job("job", "1h", id=7), STATE)


class Sent:
    """The messages of a Reports, and its budget."""

    def __init__(self) -> None:
        self.messages: list[ToKeeper] = []
        self.budget = Budget()
        self.reports = Reports(self.messages.append, self.budget)

    def run(self, printed: bytes) -> Execution:
        """A run that has printed something."""
        execution = Execution(CLAIM, 1, 1_024, self.budget)
        execution.begin(START, 1, 0)
        execution.output.feed(printed)
        return execution


def test_a_claim_that_is_given_back_has_its_own_node_and_token_and_no_run() -> None:
    sent = Sent()
    sent.reports.give_back(CLAIM)
    assert sent.messages == [ClaimUpdate(3, 9, lifecycle.give_back(STATE), None, ())]


def test_updates_count_in_the_budget_with_their_output() -> None:
    sent = Sent()
    parts = sent.run(b"a line\n").next_parts()
    before = sent.budget.waiting
    sent.reports.update(CLAIM, lifecycle.Decision(STATE), parts)
    sent.reports.unresolved(CLAIM, lifecycle.Decision(STATE), ())
    first, second = sent.messages
    assert isinstance(first, ClaimUpdate)
    assert isinstance(second, Unresolved)
    assert sent.budget.waiting - before == weight(first) + weight(second.update)


def test_a_run_in_progress_is_reported_once_and_its_output_as_it_comes() -> None:
    sent = Sent()
    execution = sent.run(b"one\n")
    sent.reports.running(execution)
    execution.output.feed(b"two\n")
    sent.reports.running(execution)
    started, *printed = sent.messages
    assert started == RunStarted(7, 9, START)
    texts = [message.part.text for message in printed if isinstance(message, OutputPrinted)]
    assert texts == ["one\n", "two\n"]
    parts = [message.part for message in printed if isinstance(message, OutputPrinted)]
    assert sent.budget.waiting == weight_of(parts)


def test_output_stays_with_its_run_while_too_much_waits_for_the_database() -> None:
    sent = Sent()
    execution = sent.run(b"one\n")
    sent.budget.add_waiting(LIMIT)
    sent.reports.running(execution)
    assert sent.messages == [RunStarted(7, 9, START)]
    sent.budget.add_waiting(-LIMIT)
    sent.reports.running(execution)
    assert [type(message) for message in sent.messages] == [RunStarted, OutputPrinted]
