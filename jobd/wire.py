"""The protocol between the daemon and a worker: JSON arrays, one per packet of a ring (jobd.ring).

    daemon → worker   ["run", order…]                execute this after the earlier orders
    worker → daemon   ["ready", VERSION, secret]     it can take orders
                      ["done", serial, outcome, error, result, retire, secret]

Each packet is announced by a byte through a socket pair. A worker executes one order at a time. It reads the next byte,
and so the next order, after it has reported the end of the previous one. The daemon revokes orders by reading back the
bytes that the worker has not read. `serial` is that of the order. `outcome` is "succeeded", "failed" or "unresolved"
(this worker cannot execute it, and the text says why). With `retire` the worker takes no further order.

The output of a task does not pass here: standard output and error are a separate pipe. Before a worker reports that it
is ready, or that a run has ended, it writes `end_mark(secret)` into the pipe: all output before it is complete. The
secret is new each time and is drawn after the task and its descendants have ended. A worker ends after a run without
a secret.

A record of a logging library is written to the pipe as LEVEL_MARK, the level, a blank, the message as a JSON string and
a line end: at most 4,096 bytes (PIPE_BUF), because the kernel does not interleave such writes with others. A longer
record is split into pieces of that JSON text, with `level+key` for all pieces but the last, which has `level=key`.

A worker is not trusted: an invalid message ends the worker, never the daemon.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jobd.errors import MAX_ERROR

VERSION = 4
TOKEN = b"."  # the byte that announces a packet
MAX_RESULT = 4 * 1024  # characters
LEVEL_MARK = "\x1e"
LEVELS = ("debug", "info", "warning", "error")
MAX_RECORD_PIECE = 4_096  # bytes of a record, or of a piece of one: PIPE_BUF
MAX_RECORD = 16 * 1024  # characters; a longer message becomes several records
MARK_HEAD = b"\x1e\0jobd "
SECRET = 32  # characters
MARK_SIZE = len(MARK_HEAD) + SECRET + 1
UNRESOLVED = "unresolved"
_OUTCOMES = ("succeeded", "failed", UNRESOLVED)
_decode = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(separators=(",", ":")).encode
_encode_short = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class Order(NamedTuple):
    """One execution, in the form in which the daemon orders it. Times are µs, except `deadline`."""

    serial: int  # counts the orders to this worker
    job: str
    number: int
    task: str | None
    command: Sequence[str] | None
    args: Mapping[str, Any]
    due: int
    attempt: int
    deadline: float | None  # seconds of time.monotonic()
    token: int
    fork: bool = False  # execute it in a child process of the worker


class Done(NamedTuple):
    """The end of an execution, as the worker reports it."""

    outcome: str
    error: str | None
    result: str | None  # JSON
    retire: bool  # the worker asks to be replaced, because it could not restore its state
    secret: str | None = None  # in the mark at the end of its output
    serial: int = 0  # that of the order


class WireError(Exception):
    """The other side sent an invalid message."""


def encode(*message: object) -> bytes:
    """The packet for `message`."""
    return _encode(message).encode()


def encode_order(order: Order) -> bytes:
    """The packet that orders an execution."""
    serial, job, number, task, command, args, due, attempt, deadline, token, fork = order
    # An f-string, because each call of a JSON encoder creates a new C encoder, which dominates the time here.
    return (
        f'["run",{serial},{_encode_short(job)},{number},{"null" if task is None else _encode_short(task)}'
        f",{_encode_short(command) if command else 'null'},{_encode_short(args) if args else '{}'}"
        f",{due},{attempt},{'null' if deadline is None else deadline},{token},{'true' if fork else 'false'}]"
    ).encode()


def encode_done(
    serial: int, outcome: str, error: str | None, result: str | None, retire: bool, secret: str | None
) -> bytes:
    """The packet that reports the end of an execution."""
    if error is None is result and not retire and secret is not None:
        return f'["done",{serial},"{outcome}",null,null,false,"{secret}"]'.encode()
    return encode("done", serial, outcome, error, result, retire, secret)


def end_mark(secret: str) -> bytes:
    """The bytes that mark the end of a run's output in the pipe."""
    return MARK_HEAD + secret.encode() + b"\n"


def decode(packet: bytes) -> list[Any]:
    """The message in `packet`. Raises WireError if it is not a JSON array whose first item is a string."""
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
    """At most `most` characters of `text`. Lone surrogates, which JSON allows and UTF-8 does not, become `?`."""
    return text and text[:most].encode("utf-8", "replace").decode()


def decode_ready(message: list[Any]) -> str:
    """The secret in a "ready" message. Raises WireError if it is invalid, or of another version."""
    if message[1:2] != [VERSION]:
        raise WireError(f"it speaks version {message[1:2]}, not {VERSION}")
    if len(message) == 3 and _is_secret(message[2]):
        return str(message[2])
    raise WireError("'ready' has parts that are not understood")


def decode_done(message: list[Any]) -> Done:
    """The end of an execution. Raises WireError if a part is missing or has a wrong type."""
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
