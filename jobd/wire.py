"""What the daemon and a worker say to each other: one JSON array per line over a socket pair.

    daemon → worker   ["run", {order}]       start this execution; one at a time
                      ["stop"]               end when idle
    worker → daemon   ["ready", VERSION]     plugins can be run
                      ["done", outcome, error, result, retire]

`outcome` is "succeeded", "failed" or "unresolved" (no such task here: the execution did not happen). What a task
prints does not pass here: standard output and error are a pipe of their own, on which a line that begins with
LEVEL_MARK is a record of a logging library: the mark, the level's name, a blank, the message as a JSON string.

A worker is not trusted: a line over MAX_MESSAGE or one that is not understood ends it, never the daemon.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

VERSION = 1
MAX_MESSAGE = 256 * 1024
MAX_ERROR = 2_000
MAX_RESULT = 4 * 1024
LEVEL_MARK = "\x1e"
UNRESOLVED = "unresolved"
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Order(NamedTuple):
    """One execution, as the worker is told of it."""

    job: str
    number: int
    task: str | None
    command: tuple[str, ...] | None
    args: Mapping[str, Any]
    due_time: str
    attempt: int
    deadline: float | None  # time.monotonic(), seconds
    token: int


class Done(NamedTuple):
    """How an execution ended, as the worker tells it."""

    outcome: str
    error: str | None
    result: str | None  # JSON
    retire: bool  # the worker asks to be replaced: something could not be put back


class WireError(Exception):
    """The other side said something that is not understood."""


def encode(*message: object) -> bytes:
    """The line for `message`."""
    return _encode(message).encode() + b"\n"


def encode_order(order: Order) -> bytes:
    """The line that starts an execution."""
    return encode("run", order._asdict())


def decode(line: bytes) -> list[Any]:
    """The message in `line`. Raises WireError when it is not a JSON array that begins with a word."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from None
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        raise WireError("not an array that begins with a word")
    return message


def decode_order(value: Mapping[str, Any]) -> Order:
    """The execution that the daemon ordered."""
    order = Order(**value)
    return order._replace(command=tuple(order.command) if order.command is not None else None)


def _text(text: str | None, most: int) -> str | None:
    """`text` as every database and log can hold it: JSON may bring half a surrogate pair, which no encoding knows."""
    return text and text[:most].encode("utf-8", "replace").decode()


def decode_done(message: list[Any]) -> Done:
    """How it ended. Raises WireError when a part is missing or of a wrong type."""
    match message:
        case [_, str(outcome), str() | None as error, str() | None as result, bool(retire)] if outcome in (
            "succeeded",
            "failed",
            UNRESOLVED,
        ):
            return Done(outcome, _text(error, MAX_ERROR), _text(result, MAX_RESULT), retire)
    raise WireError("'done' has parts that are not understood")
