"""Command line: how long `jobd list` takes with 20 jobs, against `python -c pass`, turn and turn about."""

import argparse
import subprocess
import sys
import time

from benchmarks.common import JOBD, figure, installation


def seconds(command: list[str], environ: dict[str, str]) -> float:
    """How long a command takes."""
    began = time.perf_counter()
    subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    with installation() as jobd:
        jobd.define(20, "1h", False)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "jobd list": [*JOBD, "list"],
            "jobd list --json": [*JOBD, "list", "--json"],
            "jobd --help": [*JOBD, "--help"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.rounds + 1):
            for name, command in commands.items():
                times[name].append(1_000 * seconds(command, jobd.environ))
    medians = {name: figure(name, values[1:], "ms") for name, values in times.items()}
    for name, middle in medians.items():
        print(f"{name}: {middle / medians['python -c pass']:.2f} x python -c pass")


if __name__ == "__main__":
    main()
