"""The days for `--skip-dates`: those of a calendar in jobd.toml, or the lines of a file."""

from typing import Any

from jobd.cli.context import Context
from jobd.errors import BadValue

MAX_FILE = 2**20  # bytes


def read_days(context: Context, given: Any) -> Any:
    """The days, as the job stores them. A value that is not text (not given, cleared) is returned. Raises BadValue."""
    if not isinstance(given, str):
        return given
    calendars = context.settings.calendars
    if given in calendars:
        return calendars[given]
    try:
        with open(given, "rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise BadValue(f"the file {given} is larger than 1 MiB ({MAX_FILE:,} bytes)", "it cannot be a list of days")
        text = data.decode("utf-8-sig").replace("\r", "\n")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(calendars) or "none"
        raise BadValue(
            f"{given!r} is neither a calendar of jobd.toml ({known}) nor a file that can be read",
            getattr(error, "strerror", None) or "it is not UTF-8 text",
        ) from None
    days = tuple(filter(None, (line.partition("#")[0].strip() for line in text.split("\n"))))
    if not days:
        raise BadValue(f"the file {given} names no days", "write one a line: 2026-12-24 or 2026-12-24..2027-01-01")
    return days
