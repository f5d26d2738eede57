"""The kinds of values that options of a job have (see jobd.options). All functions are pure.

A kind checks a value, converts it from and to its column of `job_options`, and from and to its form in JSON and TOML.
`column` is the type of the column. A kind never gets None, the value of an option that is not set.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from jobd.clock import EARLIEST, LATEST, MAX_DURATION, iso
from jobd.dependency import parse_dependencies, read_dependency
from jobd.errors import BadValue

MAX_ARGS = 64 * 1024  # bytes of JSON
MAX_DEPTH = 32  # levels of nested arguments


class Kind:
    """A kind of values. `stored` is the type of the values in the column, `unset` the value there of one not set."""

    column = "TEXT NULL"
    stored: type = str
    unset: int | None = None

    def check(self, name: str, value: Any) -> None:
        """Raise BadValue if the option `name` may not have this value."""

    def from_column(self, name: str, value: Any) -> Any:
        """The value of the option `name` whose column contains `value`. Raises BadValue."""
        return value

    def to_column(self, value: Any) -> Any:
        """The value for the column."""
        return value

    def parse(self, name: str, value: object) -> Any:
        """The value for the key `name` of a job file. Raises BadValue."""
        return typed(name, value, str, "a string")

    def shown(self, value: Any) -> Any:
        """The value in JSON and in a job file."""
        return value


class Text(Kind):
    """A text of at most `width` characters. `noun` is its name in messages."""

    def __init__(self, noun: str, width: int) -> None:
        self.noun, self.width = noun, width
        self.column = f"VARCHAR({width}) NULL"

    def check(self, name: str, value: Any) -> None:
        """Raise BadValue for a text that is empty or too long, or that databases refuse."""
        if not value:
            raise BadValue(f"{self.noun} is empty")
        if len(value) > self.width:
            raise BadValue(f"{self.noun} has {len(value)} characters", f"use at most {self.width}")
        _check_text(name, value)


class Choice(Kind):
    """One of a few words of at most 8 characters."""

    column = "VARCHAR(8) NULL"

    def __init__(self, *words: str) -> None:
        self.words = words

    def check(self, name: str, value: Any) -> None:
        """Raise BadValue unless the value is one of the words."""
        if value not in self.words or not isinstance(value, str):
            raise BadValue(f"{name} is {short(value)}", "give one of: " + ", ".join(self.words))

    def parse(self, name: str, value: object) -> Any:
        """The word. Raises BadValue."""
        self.check(name, value)
        return value


class Duration(Kind):
    """A duration in µs. With `none`, 0 means no limit or no delay, and is written as `none`."""

    column = "BIGINT NULL"
    stored = int

    def __init__(self, none: bool = False) -> None:
        self.none = none

    def check(self, name: str, value: Any) -> None:
        """Raise BadValue unless the value lies between 0 and ten years."""
        if not 0 <= value <= MAX_DURATION:
            raise BadValue(f"{name} is {value}", "give a duration from 0 to ten years")

    def parse(self, name: str, value: object) -> Any:
        """The duration of a text such as `1h30m`. Raises BadValue."""
        from jobd.schedule.duration import parse_duration

        text = typed(name, value, str, "a string")
        if text == "none" and self.none:
            return 0
        try:
            return parse_duration(text)
        except BadValue as error:
            raise BadValue(f"{name}: {error}", error.hint) from None

    def shown(self, value: Any) -> Any:
        """The duration as text."""
        from jobd.schedule.duration import format_duration

        return format_duration(value) if value else "none"


class Moment(Kind):
    """A moment in µs since 1970 UTC."""

    column = "BIGINT NULL"
    stored = int

    def check(self, name: str, value: Any) -> None:
        """Raise BadValue unless every time zone has the moment."""
        if not EARLIEST <= value <= LATEST:
            raise BadValue(f"{name} is {value}", "give a time from 1970-01-02 to 9998-12-31")

    def parse(self, name: str, value: object) -> Any:
        """The moment of a text in ISO 8601. Raises BadValue."""
        from jobd.schedule.at import parse_at

        return parse_at(typed(name, value, str, "a string"), "UTC").moment

    def shown(self, value: Any) -> Any:
        """The moment in ISO 8601."""
        return iso(value)


class Count(Kind):
    """A whole number from `low` to `high`; 0 if it is not set."""

    column = "INT NOT NULL DEFAULT 0"
    stored = int
    unset = 0

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def check(self, name: str, value: Any) -> None:
        """Raise BadValue unless the number lies in the range."""
        if not self.low <= value <= self.high:
            raise BadValue(f"{name} is {value}", f"give a whole number from {self.low} to {self.high}")

    def parse(self, name: str, value: object) -> Any:
        """The number. Raises BadValue."""
        return typed(name, value, int, "a whole number")


class Flag(Kind):
    """True or false; false if it is not set."""

    column = "SMALLINT NOT NULL DEFAULT 0"
    stored = int
    unset = 0

    def from_column(self, name: str, value: Any) -> Any:
        """The flag of a number."""
        return bool(value)

    def to_column(self, value: Any) -> Any:
        """The flag as 0 or 1."""
        return int(value)

    def parse(self, name: str, value: object) -> Any:
        """The flag. Raises BadValue."""
        return typed(name, value, bool, "true or false")


class Texts(Kind):
    """Several texts, stored as a JSON array; none if it is not set."""

    def from_column(self, name: str, value: Any) -> Any:
        """The texts of a JSON array. Raises BadValue."""
        return tuple(read_words(value, name))

    def to_column(self, value: Any) -> Any:
        """The texts as a JSON array."""
        return write_words(value)

    def parse(self, name: str, value: object) -> Any:
        """The texts of an array. Raises BadValue."""
        words = typed(name, value, list, "an array of strings")
        return tuple(typed(name, word, str, "an array of strings") for word in words)

    def shown(self, value: Any) -> Any:
        """The texts as an array."""
        return list(value)


class Program(Texts):
    """A program and its arguments."""

    def check(self, name: str, value: Any) -> None:
        """Raise BadValue if there is no program, or a text that programs refuse."""
        if not value or not value[0]:
            raise BadValue(f"the {name} is empty", "give a program after --")
        for word in value:
            _check_text(name, word)
        size = _size(value)
        if size > MAX_ARGS:
            raise BadValue(f"the {name} takes {size} bytes", f"at most {MAX_ARGS}")


class Dates(Texts):
    """Days, each as jobd.schedule.days reads it. The command line names a calendar or a file of them."""


class Dependencies(Texts):
    """The jobs after which a job runs."""

    def from_column(self, name: str, value: Any) -> Any:
        """The dependencies in the column, which has their ids. Raises BadValue."""
        return tuple(map(read_dependency, read_words(value, name)))

    def to_column(self, value: Any) -> Any:
        """The dependencies, with their ids, as a JSON array."""
        return write_words(one.stored for one in value)

    def parse(self, name: str, value: object) -> Any:
        """The dependencies of an array of texts. Raises BadValue."""
        return parse_dependencies(super().parse(name, value))

    def shown(self, value: Any) -> Any:
        """The dependencies as users write them."""
        return [one.text for one in value]


class Arguments(Kind):
    """The arguments of a task: a JSON object within MAX_ARGS and MAX_DEPTH; empty if it is not set."""

    def check(self, name: str, value: Any) -> None:
        """Raise BadValue unless the keys are identifiers and the values are JSON, not too large and not too deep."""
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise BadValue(f"the arguments are {short(value)}", "give a JSON object: names and values")
        for key in value:
            if not key.isidentifier():
                raise BadValue(f"{key!r} cannot be the name of an argument", "use letters, digits and _")
        if _depth(value) > MAX_DEPTH:
            raise BadValue("the arguments are nested too deeply", f"at most {MAX_DEPTH} levels")
        try:
            size = _size(value)
        except (TypeError, ValueError) as error:
            raise BadValue(f"the arguments cannot be stored as JSON: {error}") from None
        if size > MAX_ARGS:
            raise BadValue(f"the arguments take {size} bytes", f"at most {MAX_ARGS}")

    def from_column(self, name: str, value: Any) -> Any:
        """The arguments of a JSON object. Raises BadValue."""
        return read_object(value, name)

    def to_column(self, value: Any) -> Any:
        """The arguments as a JSON object."""
        import json  # imported here because most jobs have no arguments

        return json.dumps(dict(value), ensure_ascii=False)

    def parse(self, name: str, value: object) -> Any:
        """The arguments of a table. Raises BadValue."""
        return typed(name, value, dict, "a table")


def typed(name: str, value: object, expected: type, wanted: str) -> Any:
    """`value`, if it is of the type `expected`. Raises BadValue that names the key otherwise."""
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise BadValue(f"{name} is {ascii(value)[:80]}", f"give {wanted}")
    return value


def read_object(text: Any, name: str) -> dict[str, Any]:
    """The JSON object in a column. Raises BadValue."""
    value = _from_json(text, name)
    if not isinstance(value, dict):
        raise BadValue(f"{name} is not a JSON object")
    return value


def read_words(text: Any, name: str) -> list[str]:
    """The strings of a JSON array in a column. Raises BadValue."""
    words = _from_json(text, name)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadValue(f"{name} is not a JSON array of words")
    return words


def _from_json(text: Any, name: str) -> Any:
    import json

    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise BadValue(f"{name} is not JSON") from None


def write_words(words: Iterable[str]) -> str:
    """A JSON array of strings."""
    import json

    return json.dumps(list(words), ensure_ascii=False)


def _check_text(name: str, text: str) -> None:
    """Raise BadValue for text that databases or programs refuse: it has a NUL, or is from bytes that are not UTF-8."""
    if "\0" in text:
        raise BadValue(f"{name} holds a NUL character")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise BadValue(f"{name} {short(text)} is not UTF-8")


def _size(value: object) -> int:
    """The size of the value as JSON, in bytes. Raises TypeError or ValueError."""
    import json

    return len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())


def _depth(value: Mapping[str, Any]) -> int:
    deepest, stack = 0, [(value, 1)]
    while stack:
        item, level = stack.pop()
        deepest = max(deepest, level)
        if level > MAX_DEPTH:
            break
        if isinstance(item, dict):
            stack.extend((child, level + 1) for child in item.values())
        elif isinstance(item, list):
            stack.extend((child, level + 1) for child in item)
    return deepest


def short(value: object) -> str:
    """The value in a message: in ASCII, and at most 80 characters."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."
