"""Lists of seeds that have failed once."""

from pathlib import Path


def listed(name: str) -> list[int]:
    """The seeds in a file beside this one."""
    lines = (Path(__file__).parent / name).read_text().splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


REGRESSIONS = listed("regressions.txt")
