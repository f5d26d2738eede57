"""What a Processor reports to the keeper. Outcomes and output count in the memory budget from then on."""

from collections.abc import Callable

from jobd import lifecycle
from jobd.claim import Claim, ClaimUpdate, OutputPart
from jobd.engine.budget import Budget, weight, weight_of
from jobd.engine.messages import OutputPrinted, RunStarted, ToKeeper, Unresolved
from jobd.engine.worker import Execution


class Reports:
    """Sends messages about claims and runs. `send` passes a message to the keeper."""

    def __init__(self, send: Callable[[ToKeeper], None], budget: Budget) -> None:
        self.send = send
        self._budget = budget

    def update(self, claim: Claim, decision: lifecycle.Decision, parts: tuple[OutputPart, ...] = ()) -> None:
        """Report what follows for a claim, and `parts` of the output of its run."""
        self.send(self._counted(claim, decision, parts))

    def unresolved(self, claim: Claim, decision: lifecycle.Decision, parts: tuple[OutputPart, ...]) -> None:
        """Report that no worker here knows the task of a claim."""
        self.send(Unresolved(self._counted(claim, decision, parts)))

    def give_back(self, claim: Claim) -> None:
        """Give back a claim that has not started."""
        self.update(claim, lifecycle.Decision(lifecycle.give_back(claim.state)))

    def running(self, execution: Execution) -> None:
        """Report a run in progress, and its output since the last call unless too much waits for the database."""
        state = execution.claim.state
        if not execution.shown:
            execution.shown = True
            self.send(RunStarted(state.job_id, state.token, execution.started))
        if not self._budget.calm:
            return  # the output stays with the run
        for part in execution.next_parts():
            self._budget.add_waiting(weight_of([part]))
            self.send(OutputPrinted(part))

    def _counted(self, claim: Claim, decision: lifecycle.Decision, parts: tuple[OutputPart, ...]) -> ClaimUpdate:
        update = ClaimUpdate(claim.state.node, claim.state.token, decision.state, decision.run, parts)
        self._budget.add_waiting(weight(update))
        return update
