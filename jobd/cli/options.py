"""The types of option values. Each reports an error on one line, with the option.

The value `default` leaves an option unset: [defaults] in jobd.toml applies, or else the built-in value. (`--retry` has
no unset value: it takes that of [defaults].)
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click
from click.shell_completion import CompletionItem

from jobd import option_kinds
from jobd.cli.context import Context
from jobd.cli.quick import names_like
from jobd.cli.stdin import be_patient
from jobd.errors import BadValue, JobdError
from jobd.job import MAX_NAME, check_name, check_retry_times
from jobd.options import BY_NAME, WITH_FLAG, Option

DEFAULT = "default"
_F = TypeVar("_F", bound=Callable[..., Any])


class Cleared:
    """The value of an option that becomes unset."""


CLEARED = Cleared()


class Duration(click.ParamType[int | Cleared]):
    """`90s`, `1h30m`, `PT5M`, in µs. `none`, where it is allowed, means no limit or no delay."""

    name = "duration"

    def __init__(self, none: bool = False) -> None:
        self.none = none

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | Cleared:
        from jobd.schedule.duration import parse_duration

        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        if value == DEFAULT:
            return CLEARED
        if self.none and value == "none":
            return 0
        try:
            return parse_duration(value)
        except BadValue as error:
            option = param.opts[0] if param is not None else "the duration"
            raise BadValue(f"{option}: {error}", error.hint) from None


class Choice(click.ParamType[str | Cleared]):
    """One of a few words, or `default`."""

    name = "word"

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = (*words, DEFAULT)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "|".join(self.words[:-1])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Cleared:
        if value == DEFAULT:
            return CLEARED
        if value not in self.words:
            self.fail(f"{ascii(value)[:80]} is not one of {', '.join(self.words)}", param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in self.words if word.startswith(incomplete)]


class Text(click.ParamType[str | Cleared]):
    """Any text, or `default`."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Cleared:
        return CLEARED if value == DEFAULT else str(value)


class Name(click.ParamType[str]):
    """A job name, as it is stored."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return check_name(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        config = ctx.find_root().params.get("config")
        return [CompletionItem(name) for name in names_like(config, incomplete)]


class Existing(Name):
    """The name of an existing job. Another program may have created a job with a name that jobd would refuse."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            name = check_name(value)
        except BadValue:
            if not value or len(value) > MAX_NAME or any("\ud800" <= char <= "\udfff" for char in value):
                raise
            return str(value)
        return name if name == value or not _is_stored(value, ctx) else value


def _is_stored(name: str, ctx: click.Context | None) -> bool:
    """Whether a job has this name, which is not in NFC."""
    try:
        return ctx is not None and isinstance(ctx.obj, Context) and bool(ctx.obj.reader.job(name))
    except JobdError:
        return False  # if the database cannot be read, the command reports it


class Number(click.ParamType[int | Cleared]):
    """A whole number in plain digits, or `default`. `check` raises BadValue for one that is not allowed."""

    name = "number"

    def __init__(self, check: Callable[[int], object]) -> None:
        self.check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | Cleared:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        if value == DEFAULT:
            return CLEARED
        digits = value.removeprefix("-") if value.startswith("-") else value.removeprefix("+")
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > 40:
            option = param.opts[0] if param is not None else "the number"
            raise BadValue(f"{option} is {ascii(value)[:80]}", "give a whole number")
        self.check(int(value))
        return int(value)


class Assignment(NamedTuple):
    """A parsed `K=V`."""

    key: str
    value: Any


class Argument(click.ParamType[Assignment]):
    """`K=V`. V is parsed as JSON if it is JSON (`n=3`, `on=true`, `to=["a","b"]`), otherwise it is plain text.

    To force text, write it as JSON: `id='"007"'`. With `secret`, K alone prompts for the value, so that it appears
    neither in the process list nor in the shell history.
    """

    name = "K=V"

    def __init__(self, secret: bool = False) -> None:
        self.secret = secret

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Assignment:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        key, equals, text = value.partition("=")
        shown = repr(key) if self.secret else ascii(value)[:80]
        if not key.isidentifier() or not (equals or self.secret):
            raise BadValue(f"the argument {shown} is not of the form K=V", "K is a name: letters, digits and _")
        if not equals:
            text = _ask(key)
        return Assignment(key, _json_or_text(text))


def _ask(key: str) -> str:
    """The value of a secret, from a prompt at the terminal or from the next line of standard input."""
    if sys.stdin.isatty():
        text: str = click.prompt(f"Value of {key}", hide_input=True, err=True)
        return text
    be_patient()
    line = sys.stdin.readline()
    if not line:
        raise BadValue(f"the secret argument {key} has no value", "write it to standard input, a line for each")
    return line.rstrip("\r\n")


def _json_or_text(text: str) -> Any:
    import json

    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text


def _refuse_constant(word: str) -> None:
    raise ValueError(word)  # NaN and Infinity are not JSON, so they stay text


NAME, EXISTING = Name(), Existing()
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def definition_options(function: _F) -> _F:
    """Add the options of a definition, which `add` and `set` share."""
    for option in reversed(_DEFINITION):
        function = option(function)
    return function


def schedule_options(function: _F) -> _F:
    """Add the options of a schedule."""
    for option in reversed(_SCHEDULE):
        function = option(function)
    return function


def _of_table(*names: str) -> list[Callable[[_F], _F]]:
    """The flags of these options of the table."""
    return [_flag(BY_NAME[name]) for name in names]


class _WithDefault(click.Option):
    """An option of the table. Its help ends with its built-in value, if it has one."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from jobd.definition import BUILT_IN
        from jobd.schedule.duration import format_duration

        record, value = super().get_help_record(ctx), getattr(BUILT_IN, self.name or "")
        if record is None or value is None or value == ():
            return record
        if isinstance(self.type, Duration):
            value = format_duration(value) if value else "none"
        return record[0], f"{record[1]} Default: {value}."


def _flag(option: Option) -> Callable[[_F], _F]:
    assert option.flag is not None
    if isinstance(option.kind, option_kinds.Flag):
        both = f"{option.flag}/--no-{option.flag.removeprefix('--')}"
        return click.option(both, option.name, default=None, help=option.help)
    values = _values(option)
    return click.option(
        option.flag, option.name, cls=_WithDefault, metavar=option.metavar, type=values, help=option.help
    )


def _values(option: Option) -> Any:
    """The type of the values of a flag."""
    kind = option.kind
    match kind:
        case option_kinds.Duration():
            return Duration(kind.none)
        case option_kinds.Choice():
            return Choice(kind.words)
        case option_kinds.Count():
            return Number(lambda value: kind.check(option.name, value))
    return Text()  # jobd.cli.edit reads it


# The order in --help. An option of the table that is not named here comes last.
_OF_SCHEDULE = ("starts", "ends", "jitter", "skip_dates", "instead", "timezone")
_OF_ATTEMPTS = ("backoff", "backoff_max", "timeout")
_OF_RUNS = ("pool", "priority", "catch_up", "grace", "on_lost", "isolation")
_OTHERS = [one.name for one in WITH_FLAG if one.name not in (*_OF_SCHEDULE, *_OF_ATTEMPTS, *_OF_RUNS)]
_SCHEDULE = (
    click.option("--every", metavar="D", help="Now, then every D without drift. Or in words: 'weekday at 18:30'."),
    click.option("--after", metavar="D", help="Now, then D after the end of each run."),
    click.option("--cron", metavar="EXPR", help="Five cron fields (six with seconds first), or @daily and so on."),
    click.option("--calendar", metavar="EXPR", help="A systemd calendar expression: Mon..Fri *-*-* 09:00."),
    click.option("--at", metavar="TIME", help="Once: 2026-12-24T18:00, or 'tomorrow 09:00'."),
    click.option("--in", "in_", metavar="D", help="Once, D from now."),
    click.option(
        "--after-job",
        "after_jobs",
        metavar="NAME",
        multiple=True,
        help="Run after NAME succeeds (NAME:finished: however it ends). Repeat to wait for several jobs.",
    ),
    click.option("--once", is_flag=True, help="Run once, now. With a schedule: once, at its first due time."),
    click.option("--interval", metavar="TEXT", help="A schedule as it is stored in the column `interval`."),
    *_of_table(*_OF_SCHEDULE),
)
_DEFINITION = (
    click.option("--task", metavar="TASK", help="The task to run; default: the task with the job's name."),
    *_SCHEDULE,
    click.option(
        "--retry",
        "retry_times",
        metavar="N",
        type=Number(check_retry_times),
        help="Retry a failed run up to N times: 3 means at most 4 attempts. Default: 0.",
    ),
    *_of_table(*_OF_ATTEMPTS),
    click.option(
        "--arg", "args", metavar="K=V", type=Argument(), multiple=True, help="An argument of the task; V may be JSON."
    ),
    click.option(
        "--secret-arg",
        "secret_args",
        metavar="K[=V]",
        type=Argument(secret=True),
        multiple=True,
        help="An argument whose value is never shown. K alone asks for the value.",
    ),
    *_of_table(*_OF_RUNS, *_OTHERS),
    click.option("--force", is_flag=True, help="Store the job even if its task is unknown or it will never be due."),
)
