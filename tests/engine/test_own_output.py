"""Output of a run is kept with that run, in every order of prints, marks, messages, reads, deaths and stolen bytes.

The real Processor and Worker, on a process whose next step the test chooses.
"""

import re
from collections.abc import Collection
from typing import Any
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobd.claim import Claim, ClaimUpdate
from jobd.clock import SECOND
from jobd.engine import worker as worker_module
from jobd.engine.budget import Budget
from jobd.engine.output import Output
from jobd.engine.processor import Processor, RunSettings
from jobd.job import Job, JobState
from jobd.wire import MARK_HEAD, VERSION, Order, decode, decode_order, encode, encode_done, end_mark
from tests.engine.harness import ManualClock, ignore_start

LIMIT = 1_000_000
OWN = "<{}>"  # what only this job prints
FORGED = end_mark("0" * 32)
ODD = [
    b"\n", b"\x1e", b"\0", b"\x1e\0", MARK_HEAD, FORGED, MARK_HEAD + b"f" * 31, b"\xff", b"\xc3", b"\xa9",
    b'\x1einfo "a record"\n', b'\x1einfo "half', b'\x1edebug+1 "pie', b'\x1edebug=1 ce"\n', b"x" * 300,
]  # fmt: skip
PRINTS = st.lists(st.sampled_from([b"own", b"own", b"own\n", *ODD]), max_size=4)
DEEDS = st.lists(st.sampled_from(["work"] * 6 + ["line", "output", "output", "step"]), max_size=60)


class Process:
    """A worker process: each `work` is one write, one word or the beginning of the next run."""

    def __init__(self, pid: int, spawner: Any) -> None:
        self.pid = self.messages = pid
        self.output, self.ended = pid + 1_000, pid + 2_000
        self.lease_expired = False
        self.dead = False
        self.pipe = bytearray()
        self.running: Order | None = None
        self._rig = spawner
        self._sent: list[Order] = []
        self._said: list[bytes] = []
        self._left: list[bytes] = []  # to be printed by the run in progress
        self._secret = ""
        self._to_send = [encode("ready", VERSION, self._mark())]

    def work(self) -> None:
        if self.dead:
            return
        if self._to_send:
            self._said.append(self._to_send.pop())
        elif self.running is None:
            self._begin()
        elif self._left:
            text = self._left.pop(0)
            self.pipe += text
            self._rig.printed[self.running.job] += text
        else:
            self._to_send.append(encode_done(self.running.serial, "succeeded", None, None, False, self._mark()))
            self.running = None

    def _begin(self) -> None:
        if self._sent:
            self.running = self._sent.pop(0)
            self._left = list(self._rig.prints[self.running.job])
            self._rig.printed[self.running.job] = b""  # of this attempt

    def _mark(self) -> str:
        secret = f"{self._rig.secrets:032x}"
        self._rig.secrets += 1
        self.pipe += end_mark(secret)
        return secret

    def send(self, packet: bytes) -> None:
        self._sent.append(decode_order(decode(packet)))

    def flush(self) -> bool:
        return True

    def revoke(self) -> int:
        count = len(self._sent)
        self._sent.clear()
        return count

    def receive(self) -> list[bytes]:
        self._rig.go_on()
        said, self._said = self._said, []
        return said

    def read_output(self) -> bytes | None:
        self._rig.go_on()
        data = bytes(self.pipe[: self._rig.chunk])
        del self.pipe[: self._rig.chunk]
        return data or None

    def unread(self) -> int:
        self._rig.go_on()
        return len(self.pipe)

    def reap(self) -> int:
        return -9

    def trust_until(self, deadline: int) -> None:
        pass

    def end(self) -> None:
        pass


class OutputRig:
    """One worker at a time, some jobs, each run once. `meanwhile`: what the process does while the daemon looks."""

    def __init__(self, prints: list[list[bytes]], chunk: int, meanwhile: list[list[str]]) -> None:
        self.chunk = chunk
        self.meanwhile = meanwhile
        self.secrets = 10**30
        self.prints = {
            f"job{number}": [part.replace(b"own", OWN.format(number).encode()) for part in parts]
            for number, parts in enumerate(prints)
        }
        self.printed = dict.fromkeys(self.prints, b"")
        self.kept: dict[str, str] = {}
        self.processes: list[Process] = []
        self._clock = ManualClock(1_000)
        self.processor = Processor(
            1, RunSettings("UTC", LIMIT), self, self._clock, lambda: 0.5, self._report, ignore_start, Budget()  # type: ignore[arg-type]
        )  # fmt: skip
        self.processor.pace.duration = 1
        for number in range(len(prints)):
            job = Job(f"job{number}", id=number + 1, runonce=True)
            self.processor.queue.put(Claim(job, JobState(number + 1, node=1, due=0, ready=0)), 0)
        self.processor.step()

    def start(self) -> Process:
        self.processes.append(Process(len(self.processes) + 1, self))
        return self.processes[-1]

    def kill_escaped(self, known: Collection[int]) -> None:
        pass

    def _report(self, message: object) -> None:
        if isinstance(message, ClaimUpdate) and message.run is not None:
            name = f"job{message.state.job_id - 1}"
            assert name not in self.kept
            self.kept[name] = "".join(part.text for part in message.output)

    def do(self, deed: str) -> None:
        process = self.processes[-1]
        if deed == "work":
            process.work()
        elif deed == "step":
            self.processor.step()
        elif deed == "die":
            process.dead = True
            self._handle("ended")
            self._clock.passed += SECOND  # when one that did not come up is replaced
            self.processor.step()
        elif deed.startswith("steal"):
            del process.pipe[: int(deed[5:])]
        else:
            self._handle(deed)

    def go_on(self) -> None:
        """It does, while the daemon looks."""
        for deed in self.meanwhile.pop() if self.meanwhile else ():
            self.do(deed)

    def _handle(self, source: str) -> None:
        (worker,) = self.processor.workers
        self.processor.handle(worker, source)

    def finish(self) -> None:
        """Do all remaining steps and handle their messages."""
        for _ in range(400):
            self.do("work")
        for deed in ("line", "step", "work", "work", "output", "step"):
            self.do(deed)
        for _ in range(400):
            self.do("work")
        for deed in ("output", "step"):
            self.do(deed)


def expected(printed: bytes) -> str:
    """What is kept of an output that comes all at once."""
    output = Output(LIMIT)
    output.feed(printed)
    output.end()
    return output.take()


def played(prints: list[list[bytes]], chunk: int, meanwhile: list[list[str]], deeds: list[str]) -> OutputRig:
    with mock.patch.object(worker_module, "CHUNK", chunk):
        spawner = OutputRig(prints, chunk, meanwhile)
        for deed in deeds:
            spawner.do(deed)
        spawner.finish()
    return spawner


RUNS = st.lists(PRINTS, min_size=2, max_size=8)
CHUNKS = st.sampled_from([1, 7, 40, 64, 65_536])
MEANWHILE = st.lists(st.lists(st.just("work"), max_size=6), max_size=30)
THEFTS = st.sampled_from(["steal1", "steal20", "steal39", "steal40", "steal45", "steal300"])


@settings(max_examples=400, deadline=None)
@given(RUNS, CHUNKS, MEANWHILE, DEEDS)
def test_each_run_keeps_its_own_output(
    prints: list[list[bytes]], chunk: int, meanwhile: list[list[str]], deeds: list[str]
) -> None:
    spawner = played(prints, chunk, meanwhile, deeds)
    assert spawner.kept == {name: expected(printed) for name, printed in spawner.printed.items()}


@settings(max_examples=400, deadline=None)
@example(
    [[b"own", b"own"], []],
    40,
    [["work"], [], ["work"] * 2, *[[]] * 5, ["work"]],
    ["line"] * 2 + ["step", "work"],
    [],
    False,
)
@given(RUNS, CHUNKS, MEANWHILE, DEEDS, DEEDS, st.booleans())
def test_a_process_that_dies_at_any_moment_costs_no_run_its_output(
    prints: list[list[bytes]], chunk: int, meanwhile: list[list[str]], before: list[str], after: list[str], twice: bool
) -> None:
    spawner = played(prints, chunk, meanwhile, [*before, "die", *after, *(["die"] if twice else [])])
    assert spawner.kept.keys() == spawner.printed.keys()
    for name, printed in spawner.printed.items():
        # What looks like a mark, as the very last that a process has printed, is taken for one.
        assert spawner.kept[name] in (expected(printed), expected(printed.removesuffix(FORGED)))


@settings(max_examples=1_000, deadline=None)
@given(RUNS, CHUNKS, MEANWHILE, DEEDS, st.data())
def test_a_task_that_takes_bytes_out_of_the_pipe_gives_no_run_the_output_of_another(
    prints: list[list[bytes]], chunk: int, meanwhile: list[list[str]], deeds: list[str], data: st.DataObject
) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        thief = data.draw(st.sampled_from([deeds, *meanwhile]))
        thief.insert(data.draw(st.integers(0, len(thief))), data.draw(THEFTS))
    spawner = played(prints, chunk, meanwhile, deeds)
    assert spawner.kept.keys() == spawner.prints.keys(), "an end that was never found was waited for"
    for name, text in spawner.kept.items():
        assert set(re.findall(r"<(\d+)>", text)) <= {name[3:]}
