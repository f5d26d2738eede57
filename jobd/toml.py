"""Reads TOML.

Most files are plain and take a quick path: the import of tomllib is a tenth of the time of a short command, and
reading 20,000 jobs with it takes longer than storing them.
"""

from typing import Any

from jobd.errors import BadValue

_DIGITS = 18  # digits of a number that certainly fits in 64 bits


def parse_toml(text: str) -> dict[str, Any]:
    """The document in `text`. Raises BadValue."""
    document = plain(text)
    if document is not None:
        return document
    import tomllib

    try:
        return tomllib.loads(text)
    except ValueError as error:  # of tomllib, or of int() for a number of thousands of digits
        raise BadValue(_reason(text, str(error).partition(";")[0])) from None
    except RecursionError:
        raise BadValue("it is nested too deeply") from None


def plain(text: str) -> dict[str, Any] | None:
    """The document in a plain text. None: the text is not plain or not valid, and tomllib has to read it.

    In a plain text each line is a comment, a [table] or `key = value`. Each value is a string without escapes, a
    whole number, true or false.
    """
    if not text.replace("\n", "").replace("\t", "").isprintable():
        return None
    document: dict[str, Any] = {}
    table: dict[str, Any] | None = document
    for line in text.split("\n"):
        line = line.strip()
        if not line or line[0] == "#":
            continue
        if line[0] == "[":
            name, bracket, rest = line[1:].partition("]")
            table = _new_table(document, name) if bracket and _is_over(rest) else None
            if table is None:
                return None
            continue
        key, _, rest = line.partition("=")
        key, value = key.rstrip(), _value(rest.lstrip())
        if value is None or table is None or key in table or not _is_bare(key):
            return None
        table[key] = value
    return document


def _reason(text: str, message: str) -> str:
    """tomllib's message; for a repeated key or table, a message that names it."""
    import re

    at = re.search(r"at line ([0-9]+)", message)
    if at and message.startswith(("Cannot overwrite", "Cannot declare", "Duplicate", "Cannot mutate")):
        line = text.split("\n")[int(at[1]) - 1].strip()
        key = line.partition("=")[0].strip() if "=" in line.partition("#")[0] else line.partition("#")[0].strip()
        return f"line {at[1]}: {key if key.isprintable() else ascii(key)} is given twice"
    return message


def _new_table(document: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Add the table `name` (a, or a.b) to `document`; None if the name is taken or needs quotes."""
    *above, last = name.split(".")
    for part in above:
        document = document.setdefault(part, {})
        if not isinstance(document, dict) or not _is_bare(part):
            return None
    if last in document or not _is_bare(last):
        return None
    table: dict[str, Any] = {}
    document[last] = table
    return table


def _value(text: str) -> str | int | None:
    if text[:1] == '"':
        value, quote, rest = text[1:].partition('"')
        return value if quote and "\\" not in value and _is_over(rest) else None
    word = text.partition("#")[0].rstrip()
    if word in ("true", "false"):
        return word == "true"
    if word.isascii() and word.isdecimal() and (word[0] != "0" or word == "0") and len(word) <= _DIGITS:
        return int(word)
    return None


def _is_bare(key: str) -> bool:
    """Whether a key needs no quotes."""
    return key.isascii() and (key.isalnum() or key.replace("_", "x").replace("-", "x").isalnum())


def _is_over(rest: str) -> bool:
    """Whether only blanks or a comment follow on the line."""
    rest = rest.lstrip()
    return not rest or rest[0] == "#"
