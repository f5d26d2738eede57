"""The tasks that installed packages declare, as entry points of the group "jobd.tasks".

The files are read as text, because importlib.metadata is slow to import. As in that module, if a package is found twice
(an editable install has its dist-info in site-packages and perhaps an egg-info beside its source), the one that comes
first in sys.path counts.
"""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

GROUP = "jobd.tasks"


class EntryPoint(NamedTuple):
    """A task that an installed package declares."""

    name: str
    value: str  # "package.module:function"
    package: str

    @property
    def origin(self) -> str:
        return f"{self.package} ({self.value})"


def declared(folders: Iterable[str]) -> list[EntryPoint]:
    """The tasks that the packages in these folders declare, by name. Equal declarations count once."""
    found: dict[tuple[str, str], EntryPoint] = {}
    seen: set[str] = set()
    for folder in dict.fromkeys(map(os.path.realpath, folders)):
        for path, package in _packages(folder):
            if package.lower() not in seen:
                seen.add(package.lower())
                for name, value in _entries(path):
                    found.setdefault((name, value), EntryPoint(name, value, package))
    return sorted(found.values())


def _packages(folder: str) -> Iterator[tuple[str, str]]:
    """(folder with the metadata, name) of each package installed in a folder."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix in (".dist-info", ".egg-info"):
            yield os.path.join(folder, name), stem.partition("-")[0]


def _entries(path: str) -> Iterator[tuple[str, str]]:
    try:
        with open(os.path.join(path, "entry_points.txt"), encoding="utf-8") as file:
            text = file.read()
    except (OSError, ValueError):
        return
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]").strip()
        elif section == GROUP and "=" in line and not line.startswith("#"):
            task, _, value = line.partition("=")
            yield task.strip(), value.partition("[")[0].strip()
