"""What the plugins offer, told line by line on a descriptor to the process that lists it (task_list.py): JSON arrays.

["loading", source]   what follows, until the next such line, is about this plugin
["task", name, origin, kind, arguments, error]   arguments: [required, optional, others] or null
["broken", error]     it offers nothing
["loaded"]            it is through
["end"]
"""

import json
import os
from collections.abc import Callable, Iterator

from jobd.plugins.catalogue import Catalogue, Found, Unresolved

Load = Callable[[], list[Found]]


def announce_tasks(catalogue: Catalogue, descriptor: int, skipped: list[str], asked: str | None) -> None:
    """Tell of every plugin but the `skipped`, and of the task `asked`, when that is given in full."""

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
    """How each thing that may offer tasks is called, and what loads it."""
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
