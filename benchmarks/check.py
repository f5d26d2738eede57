"""Compares jobd with benchmarks/baseline.json and fails if it is slower. Only counts and ratios, never a time.

python -m benchmarks.check [--write]
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

BASELINE = Path(__file__).with_name("baseline.json")
WORSE = 1.3
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
ADVICE = "find out what it was and put it right; where it has to be so, `make bench-baseline` writes new values"


def compare(stored: Mapping[str, float], measured: Mapping[str, float]) -> list[str]:
    """What is wrong: every figure that is worse by more than is allowed, or stands on one side only."""
    problems = []
    for name, value in measured.items():
        if name not in stored:
            problems.append(f"{name}: {value:.4g} measured, nothing stored; `make bench-baseline` stores it")
        elif value > stored[name] * WORSE:
            worse = f"{100 * (value / stored[name] - 1):.0f} % worse" if stored[name] else "worse"
            problems.append(f"{name}: {value:.4g} measured, {stored[name]:.4g} stored: {worse}; {ADVICE}")
    gone = [name for name in stored if name not in measured]
    return problems + [f"{name}: stored, and measured no more; `make bench-baseline` drops it" for name in gone]


def measure() -> dict[str, float]:
    """Every figure by its name; less is better."""
    from benchmarks import counts, ratios

    return counts.measure() | ratios.measure()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="store what is measured")
    write = parser.parse_args().write
    if not write:
        stored = json.loads(BASELINE.read_text())
        if stored["python"] != VERSION:
            print(
                f"SKIPPED: the figures are those of Python {stored['python']}, and this is {VERSION}", file=sys.stderr
            )
            return 0
    began = time.monotonic()
    measured = {name: float(f"{value:.4g}") for name, value in measure().items()}
    if write:
        BASELINE.write_text(json.dumps({"python": VERSION, "figures": measured}, indent=4) + "\n")
        stored = {"figures": measured}
    for name, value in measured.items():
        before = stored["figures"].get(name)
        print(f"{name}: {value:.4g}" + (f", stored {before:.4g}, {value / before:.2f} of it" if before else ""))
    problems = compare(stored["figures"], measured)
    for problem in problems:
        print(f"WORSE: {problem}", file=sys.stderr)
    print(f"{len(measured)} figures in {time.monotonic() - began:.0f} s, {len(problems)} worse by more than 30 %")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
