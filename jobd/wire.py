"""What the daemon and a worker say to each other: JSON arrays, each a packet of its own in a ring (jobd.ring).

    daemon → worker   ["run", order…]        run this after what you have been told before
    worker → daemon   ["ready", VERSION]     plugins can be run
                      ["done", serial, outcome, error, result, retire, printed]

With each packet goes a byte through a socket pair. A worker runs one order at a time and takes the next byte, and with
it the next order, when it has told the end of the last; the bytes that it has not taken, the daemon can take back.
`serial` is the order's. `outcome` is "succeeded", "failed" or "unresolved" (no such task here: the execution did not
happen). With `retire` it takes no further order.

What a task prints does not pass here: standard output and error are a pipe of their own, on which a line that begins
with LEVEL_MARK is a record of a logging library: the mark, the level's name, a blank, the message as a JSON string.
When the pipe still holds some of a run's output at its end (`printed`), `end_mark` follows it.

A worker is not trusted: a message that is not understood ends it, never the daemon.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

VERSION = 3
TOKEN = b"."  # the byte that goes with a packet
MAX_ERROR = 2_000
MAX_RESULT = 4 * 1024
LEVEL_MARK = "\x1e"
UNRESOLVED = "unresolved"
_OUTCOMES = ("succeeded", "failed", UNRESOLVED)
_decode = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(separators=(",", ":")).encode
_encode_short = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class Order(NamedTuple):
    """One execution, as the worker is told of it."""

    serial: int  # counts what this worker is told
    job: str
    number: int
    task: str | None
    command: Sequence[str] | None
    args: Mapping[str, Any]
    due: int
    attempt: int
    deadline: float | None  # time.monotonic(), seconds
    token: int
    fork: bool = False  # run it in a child of its own


class Done(NamedTuple):
    """How an execution ended, as the worker tells it."""

    outcome: str
    error: str | None
    result: str | None  # JSON
    retire: bool  # the worker asks to be replaced: something could not be put back
    printed: bool = False  # some of its output is still on the way, up to `end_mark`
    serial: int = 0  # of the order


class WireError(Exception):
    """The other side said something that is not understood."""


def encode(*message: object) -> bytes:
    """The packet for `message`."""
    return _encode(message).encode()


def encode_order(order: Order) -> bytes:
    """The packet that orders an execution."""
    serial, job, number, task, command, args, due, attempt, deadline, token, fork = order
    # Put together by hand: a JSON encoder is made anew for each call, which takes longer than all else here.
    return (
        f'["run",{serial},{_encode_short(job)},{number},{"null" if task is None else _encode_short(task)}'
        f",{_encode_short(command) if command else 'null'},{_encode_short(args) if args else '{}'}"
        f",{due},{attempt},{'null' if deadline is None else deadline},{token},{'true' if fork else 'false'}]"
    ).encode()


def encode_done(serial: int, outcome: str, error: str | None, result: str | None, retire: bool, printed: bool) -> bytes:
    """The packet that tells the end of an execution."""
    if error is None is result and not retire:
        return f'["done",{serial},"{outcome}",null,null,false,{"true" if printed else "false"}]'.encode()
    return encode("done", serial, outcome, error, result, retire, printed)


def end_mark(serial: int) -> bytes:
    """What follows the output of the run with this serial number."""
    return b"%send %d\n" % (LEVEL_MARK.encode(), serial)


def decode(packet: bytes) -> list[Any]:
    """The message in `packet`. Raises WireError when it is not a JSON array that begins with a word."""
    try:
        text = packet.decode()
        message, end = _decode(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from None
    if end != len(text) or not isinstance(message, list) or not message or not isinstance(message[0], str):
        raise WireError("not an array that begins with a word")
    return message


def decode_order(message: Sequence[Any]) -> Order:
    """The execution that the daemon ordered."""
    return Order._make(message[1:])


def _text(text: str | None, most: int) -> str | None:
    """`text` as every database and log can hold it: JSON may bring half a surrogate pair, which no encoding knows."""
    return text and text[:most].encode("utf-8", "replace").decode()


def decode_done(message: list[Any]) -> Done:
    """How it ended. Raises WireError when a part is missing or of a wrong type."""
    if len(message) == 7:
        _, serial, outcome, error, result, retire, printed = message
        if type(serial) is int and outcome in _OUTCOMES and type(retire) is bool and type(printed) is bool:
            if error is None and result is None:
                return Done(outcome, None, None, retire, printed, serial)
            if isinstance(error, str | None) and isinstance(result, str | None):
                return Done(outcome, _text(error, MAX_ERROR), _text(result, MAX_RESULT), retire, printed, serial)
    raise WireError("'done' has parts that are not understood")
