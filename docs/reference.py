"""Writes docs/commands.md and docs/api.md from the program itself: `python docs/reference.py`.

`tests/test_docs.py` fails when a command, an option or a docstring has changed and these pages have not.
"""

import inspect
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_overloads

import click

import jobd
from jobd.cli.group import cli

FOLDER = Path(__file__).parent
WIDTH = 100  # characters of a line of help
WRITTEN = "<!-- Written by docs/reference.py. Change the program's help and run `make docs`. -->\n"


def commands() -> str:
    """The page of all commands, each with what `--help` prints."""
    with cli.make_context("jobd", [], resilient_parsing=True) as context:
        names = cli.list_commands(context)
        shown = [_help(cli, context), *(_help(_command(context, name), _child(context, name)) for name in names)]
    headings = ["jobd", *(f"jobd {name}" for name in names)]
    sections = [f"## {heading}\n\n```text\n{text}\n```\n" for heading, text in zip(headings, shown, strict=True)]
    return "\n".join(["# Commands\n", WRITTEN, "This is what `jobd COMMAND --help` prints.\n", *sections])


def api() -> str:
    """The page of what a plugin may use, from its signatures and docstrings."""
    names = [name for name in jobd.__all__ if not name.startswith("_")]
    sections = ["\n".join(_member(name, getattr(jobd, name))) for name in sorted(names, key=str.lower)]
    about = "A plugin uses these names of the module `jobd`. See [plugins](plugins.md) for examples.\n"
    return "\n".join(["# Python API\n", WRITTEN, about, *sections])


def _command(context: click.Context, name: str) -> click.Command:
    command = cli.get_command(context, name)
    assert command is not None
    return command


def _child(context: click.Context, name: str) -> click.Context:
    return click.Context(_command(context, name), info_name=name, parent=context)


def _help(command: click.Command, context: click.Context) -> str:
    context.terminal_width = context.max_content_width = WIDTH
    return command.get_help(context)


def _member(name: str, value: object) -> Iterator[str]:
    yield f"## jobd.{name}\n"
    if inspect.isclass(value):
        if issubclass(value, tuple):
            yield f"{_prose(value)}\n"
            yield from _fields(value)
        else:
            yield f"*exception, a {value.__bases__[0].__name__}*\n"
            yield f"{_prose(value)}\n"
    else:
        assert callable(value)
        shown = "\n".join(f"{name}{_signature(one)}" for one in get_overloads(value) or [value])
        yield f"```python\n{shown}\n```\n"
        yield f"{_prose(value)}\n"


def _signature(function: Callable[..., object]) -> str:
    text = str(inspect.signature(function))
    return re.sub(r"\b(jobd\.api|typing|collections\.abc)\.|\b_(?=Function)|~", "", text)


def _prose(value: object) -> str:
    return inspect.getdoc(value) or ""


def _fields(named_tuple: type[tuple[object, ...]]) -> Iterator[str]:
    """A table of the fields. The line of text below each field in the source says what it means."""
    source = inspect.getsource(named_tuple)
    yield "| field | type | meaning |"
    yield "| --- | --- | --- |"
    for name, kind in inspect.get_annotations(named_tuple).items():
        found = re.search(rf'^    {name}:.*\n    """(.*)"""$', source, re.MULTILINE)
        spelt = getattr(kind, "__name__", str(kind)) if inspect.isclass(kind) else str(kind)
        yield f"| `{name}` | `{spelt.replace('|', chr(92) + '|')}` | {found.group(1) if found else ''} |"
    yield ""


if __name__ == "__main__":
    os.environ["NO_COLOR"] = "1"
    (FOLDER / "commands.md").write_text(commands(), "utf-8")
    (FOLDER / "api.md").write_text(api(), "utf-8")
