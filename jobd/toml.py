"""Reads TOML. A message names the line, and the key that is given twice."""

from typing import Any

from jobd.errors import BadValue


def parse_toml(text: str) -> dict[str, Any]:
    """The document in `text`. Raises BadValue."""
    import tomllib  # imported here because `--help` reads no file

    try:
        return tomllib.loads(text)
    except ValueError as error:  # of tomllib, or of int() for a number of thousands of digits
        raise BadValue(_reason(text, str(error).partition(";")[0])) from None
    except RecursionError:
        raise BadValue("it is nested too deeply") from None


def _reason(text: str, message: str) -> str:
    """tomllib's message; for a repeated key or table, a message that names it."""
    import re

    at = re.search(r"at line ([0-9]+)", message)
    if at and message.startswith(("Cannot overwrite", "Cannot declare", "Duplicate", "Cannot mutate")):
        line = text.split("\n")[int(at[1]) - 1].strip()
        key = line.partition("=")[0].strip() if "=" in line.partition("#")[0] else line.partition("#")[0].strip()
        return f"line {at[1]}: {key if key.isprintable() else ascii(key)} is given twice"
    return message
