"""What the daemon and a worker say to each other: JSON arrays, each a packet of its own in a ring (jobd.ring).

    daemon → worker   ["run", order…]        run this after what you have been told before
    worker → daemon   ["ready", VERSION, secret]     plugins can be run
                      ["done", serial, outcome, error, result, retire, secret]

With each packet goes a byte through a socket pair. A worker runs one order at a time and takes the next byte, and with
it the next order, when it has told the end of the last; the bytes that it has not taken, the daemon can take back.
`serial` is the order's. `outcome` is "succeeded", "failed" or "unresolved" (no such task here: the execution did not
happen). With `retire` it takes no further order.

What a task prints does not pass here: standard output and error are a pipe of their own. Before a worker tells that it
is ready, or that a run is over, it writes `end_mark(secret)` into the pipe; all before it was printed until then. The
secret is new each time, drawn when the task and its descendants are gone. A run without one is the last of its worker.

A record of a logging library stands in the pipe as LEVEL_MARK, the level, a blank, the message as a JSON string and a
line end: 4,096 bytes (PIPE_BUF) at most, which the kernel never mixes with what others write. A longer one comes in
pieces of that JSON text, `level+key` for all but the last, which has `level=key`.

A worker is not trusted: a message that is not understood ends it, never the daemon.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

VERSION = 4
TOKEN = b"."  # the byte that goes with a packet
MAX_ERROR = 2_000
MAX_RESULT = 4 * 1024
LEVEL_MARK = "\x1e"
LEVELS = ("debug", "info", "warning", "error")
MAX_RECORD_PIECE = 4_096  # bytes of a record, or of a piece of one: PIPE_BUF
MAX_RECORD = 16 * 1024  # letters; what is longer is more than one
MARK_HEAD = b"\x1e\0jobd "
SECRET = 32  # letters
MARK_SIZE = len(MARK_HEAD) + SECRET + 1
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
    secret: str | None = None  # of the mark at the end of its output
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


def encode_done(
    serial: int, outcome: str, error: str | None, result: str | None, retire: bool, secret: str | None
) -> bytes:
    """The packet that tells the end of an execution."""
    if error is None is result and not retire and secret is not None:
        return f'["done",{serial},"{outcome}",null,null,false,"{secret}"]'.encode()
    return encode("done", serial, outcome, error, result, retire, secret)


def end_mark(secret: str) -> bytes:
    """What stands in the pipe where the output of a run ends."""
    return MARK_HEAD + secret.encode() + b"\n"


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


def decode_ready(message: list[Any]) -> str:
    """The secret of the mark. Raises WireError when it is of another version, or not understood."""
    if message[1:2] != [VERSION]:
        raise WireError(f"it speaks version {message[1:2]}, not {VERSION}")
    if len(message) == 3 and _is_secret(message[2]):
        return str(message[2])
    raise WireError("'ready' has parts that are not understood")


def decode_done(message: list[Any]) -> Done:
    """How it ended. Raises WireError when a part is missing or of a wrong type."""
    if len(message) == 7:
        _, serial, outcome, error, result, retire, secret = message
        known = type(serial) is int and outcome in _OUTCOMES and type(retire) is bool
        if known and (_is_secret(secret) or (secret is None and retire)):
            if error is None and result is None:
                return Done(outcome, None, None, retire, secret, serial)
            if isinstance(error, str | None) and isinstance(result, str | None):
                return Done(outcome, _text(error, MAX_ERROR), _text(result, MAX_RESULT), retire, secret, serial)
    raise WireError("'done' has parts that are not understood")


def _is_secret(value: Any) -> bool:
    return isinstance(value, str) and len(value) == SECRET and value.isascii()
