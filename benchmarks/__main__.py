"""Every benchmark in turn, each in a process of its own, and how long each took.

python -m benchmarks [NAME...]
"""

import argparse
import subprocess
import sys
import time

from benchmarks.common import ROOT

NAMES = (
    *("drain", "define", "punctuality", "burst", "scale", "start", "idle", "cli", "listing", "nodes"),
    "schedules",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--rounds", type=int, help="of each; default: what each program finds enough")
    options = parser.parse_args()
    names = options.names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    rounds = [] if options.rounds is None else ["--rounds", str(options.rounds)]
    began, failed = time.monotonic(), []
    for name in names:
        print(f"== {name}", flush=True)
        start = time.monotonic()
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *rounds], cwd=ROOT).returncode:
            failed.append(name)
        print(f"({time.monotonic() - start:.0f} s)\n", flush=True)
    print(f"all of it: {time.monotonic() - began:.0f} s")
    if failed:
        print(f"not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
