"""Plants known faults, one at a time, in a copy of jobd, and prints after how many seeds each is found.

python -m tests.combine.planted [NAME...] [--database sqlite] [--seeds 200] [--jobs 4]

Only seeds whose
situation can show the fault are played: the others would find nothing.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.combine.__main__ import New, Session
from tests.combine.faults import FAULTS, Fault
from tests.combine.play import databases
from tests.installation import ROOT


def plant(fault: Fault, folder: Path) -> Path:
    """Write a copy of jobd with a fault into a folder. Raises ValueError if the text to replace is not in the code."""
    shutil.copytree(ROOT / "jobd", folder / "jobd", ignore=shutil.ignore_patterns("__pycache__"))
    for edit in fault.edits:
        file = folder / "jobd" / edit.file
        text = file.read_text()
        if text.count(edit.before) != 1:
            raise ValueError(f"{edit.file} has {edit.before!r} {text.count(edit.before)} times")
        file.write_text(text.replace(edit.before, edit.after))
    return folder


def found_after(fault: Fault, kind: str, new: New, seeds: int) -> tuple[int | None, str]:
    """The number of seeds until a fault is found (None: it is not), and the finding."""
    other = "nothing"
    with tempfile.TemporaryDirectory() as folder:
        session = Session(kind, new, code=plant(fault, Path(folder)))
        for scenario in map(session.draw, range(seeds)):
            for text in session.once(scenario)[1] if scenario.kind in fault.situations else ():
                if text.partition(":")[0] in fault.checks:
                    return scenario.seed + 1, text
                other = text
    return None, other


def main() -> int:
    """Return the exit code: 1 if a fault was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.combine.planted", description=__doc__)
    parser.add_argument("names", nargs="*", help="beginnings of names; none: all")
    parser.add_argument("--database", default="sqlite")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=4, help="how many faults at a time")
    given = parser.parse_args()
    chosen = [name for name in FAULTS if not given.names or name.startswith(tuple(given.names))]
    kinds = {name: FAULTS[name].database or given.database for name in chosen}
    with contextlib.ExitStack() as stack:
        new = {kind: stack.enter_context(databases(kind)) for kind in {*kinds.values()}}
        pool = stack.enter_context(ThreadPoolExecutor(given.jobs))

        def found(name: str) -> bool:
            after, text = found_after(FAULTS[name], kinds[name], new[kinds[name]], given.seeds)
            result = "NOT FOUND" if after is None else f"found by seed {after}"
            print(f"{name}: {result}: {text[:200]}", flush=True)
            return after is not None

        return int(not all([*pool.map(found, chosen)]))


if __name__ == "__main__":
    sys.exit(main())
