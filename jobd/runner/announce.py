"""Sends the list of tasks to the process that requested it (task_list.py): one JSON array a line, on a descriptor.

["loading", source]   the following lines, until the next such line, are about this plugin
["task", name, origin, kind, arguments, error]   arguments: [required, optional, others] or null
["broken", error]     the plugin failed to load
["loaded"]            the plugin has loaded
["end"]               the list is complete
"""

import json
import os
from collections.abc import Callable, Iterator

from jobd.plugins.catalogue import Catalogue, Found, Unresolved

Load = Callable[[], list[Found]]


def announce_tasks(catalogue: Catalogue, descriptor: int, skipped: list[str], asked: str | None) -> None:
    """Send the tasks of every plugin except the `skipped` ones, and the task `asked` if it is a full name."""

    def send(*message: object) -> None:
        os.write(descriptor, json.dumps(message).encode() + b"\n")

    announced: set[tuple[str, int]] = set()
    for source, load in _sources(catalogue, asked):
        if source in skipped:
            continue
        send("loading", source)
        try:
            for one in load():
                if (one.name, id(one.function)) not in announced:
                    announced.add((one.name, id(one.function)))
                    send("task", one.name, one.origin, one.kind, one.arguments, one.error)
        except Unresolved as error:
            send("broken", str(error).removeprefix(f"{source}: ").removeprefix(f"unknown task {source!r}: "))
        else:
            send("loaded")
    send("end")


def _sources(catalogue: Catalogue, asked: str | None) -> Iterator[tuple[str, Load]]:
    """(name, function that loads it) of each possible source of tasks."""
    for path in catalogue.files():
        yield catalogue.relative(path), lambda path=path: catalogue.load(path)  # type: ignore[misc]
    for one in catalogue.entry_points():
        yield one.origin, lambda one=one: [catalogue.load_entry_point(one)]  # type: ignore[misc]
    if asked is not None and ":" in asked:
        yield asked, lambda: [catalogue.in_full(asked)]
    for path, reason in catalogue.passed_over():
        yield catalogue.relative(path), lambda reason=reason: _refuse(reason)  # type: ignore[misc]


def _refuse(reason: str) -> list[Found]:
    raise Unresolved(reason)
