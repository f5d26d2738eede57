"""The quick path, without click: `jobd list`, and Tab after a command that takes a job's name.

It handles the plain forms of these two, with the same result as click. click handles everything else.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial

from jobd.cli.context import Context
from jobd.errors import JobdError

_CONTROL = frozenset(map(chr, (*range(32), *range(127, 160))))
MAX_LIST = 200  # names offered at one Tab
NAMED = ("add", "set", "rename", "rm", "restore", "pause", "resume", "show", "next", "run", "cancel", "history", "logs")
_OFFERS = {"bash_complete": "plain,{}", "zsh_complete": "plain\n{}\n_"}  # the form of one name for the shell


def quick(argv: list[str], environ: Mapping[str, str]) -> Callable[[], int] | None:
    """The function for `argv` and the shell's environment; None if click must handle them."""
    listing = plain_list(argv)
    if listing is not None:
        return partial(_list, *listing)
    completion = plain_completion(argv, environ)
    return None if completion is None else partial(_complete, *completion)


def plain_list(argv: list[str]) -> tuple[str | None, str | None, bool, bool] | None:
    """(config, pattern, everything, as_json) of `[--config F] list|ls [PATTERN] [--all] [--json]`; None: not it."""
    config, words = _config(argv)
    if not words or words.pop(0) not in ("list", "ls"):
        return None
    flags = [word for word in words if word in ("--json", "--all", "-a")]
    patterns = [word for word in words if word not in flags]
    if len(patterns) > 1 or any(word.startswith("-") or not word for word in patterns):
        return None
    return config, patterns[0] if patterns else None, "--all" in flags or "-a" in flags, "--json" in flags


def plain_completion(argv: list[str], environ: Mapping[str, str]) -> tuple[str | None, str, str] | None:
    """(config, beginning of the name, form of a name) of Tab after `jobd [--config F] COMMAND`; None: another form."""
    offer = _OFFERS.get(environ.get("_JOBD_COMPLETE", ""))
    line, at = environ.get("COMP_WORDS", "").replace("\n", " "), environ.get("COMP_CWORD", "")
    if argv or offer is None or not (at.isascii() and at.isdecimal()):
        return None
    if not line.isprintable() or any(char in line for char in "'\"\\"):
        return None
    words = line.split()
    config, before = _config(words[1 : int(at)])
    beginning = words[int(at)] if int(at) < len(words) else ""
    if len(before) != 1 or before[0] not in NAMED or beginning.startswith(("-", "=")):
        return None
    return config, beginning, offer


def names_like(config: str | None, beginning: str) -> list[str]:
    """The job names that Tab offers; none after an error, because a message would disturb the command line.

    The shell shows names as they are, so those with control characters are left out.
    """
    context = Context(config)
    try:
        return [name for name in context.reader.names(beginning, MAX_LIST) if not _CONTROL.intersection(name)]
    except (JobdError, OSError):
        return []
    finally:
        context.close()


def _config(words: list[str]) -> tuple[str | None, list[str]]:
    """The file of a `--config` at the beginning, and the words after it."""
    if len(words) > 1 and words[0] == "--config":
        return words[1], words[2:]
    return None, list(words)


def _list(config: str | None, pattern: str | None, everything: bool, as_json: bool) -> int:
    from jobd.cli.job_table import print_jobs

    context = Context(config)
    try:
        print_jobs(context, pattern, everything, as_json)
    finally:
        context.close()
    return 0


def _complete(config: str | None, beginning: str, offer: str) -> int:
    offers = "\n".join(offer.format(name) for name in names_like(config, beginning))
    sys.stdout.buffer.write(f"{offers}\n".encode())  # in UTF-8 regardless of the locale, like click
    return 0
