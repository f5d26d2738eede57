"""Other schedulers and jobd on the same work, side by side: interleaved rounds, one table.

Each peer gets a throw-away virtual environment with the versions of catalogue.py, and each round an empty database on a
private server. All of them run tasks that do nothing; jobd runs them in worker processes, and so does Celery, the
others in threads or coroutines of their own process.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from benchmarks import common, drain, punctuality
from benchmarks.peers import broker
from benchmarks.peers.catalogue import JOBD_DURABLE, PEERS, Peer
from tests.servers import sqlite_url

HERE = Path(__file__).resolve().parent
EVERY, WINDOW, JOBS = 10, 10.0, 1_000  # the second workload: so many jobs, each due every 10 s
PATIENCE = 60.0  # seconds for a drain
Figures = dict[str, float]
NewUrl = Callable[[], str]


def environment(folder: Path, packages: tuple[str, ...]) -> Path:
    """The Python of a virtual environment that has these packages."""
    if not folder.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
    return folder / "bin" / "python"


def program(python: Path, peer: Peer, url: str, arguments: tuple[object, ...]) -> Figures:
    """Run a peer's program and read its figures; what it started ends with it."""
    command = [str(python), "-B", str(HERE / peer.program), *map(str, arguments)]
    command.insert(len(command) - (arguments[0] == "drain"), peer.store(url))
    with tempfile.TemporaryDirectory(prefix="jobd-peer-") as folder:
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            out, err = process.communicate(timeout=PATIENCE + 120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # it and what it has started
            process.wait()
            out, err = "", "it took too long"
    if not out.strip():
        print(f"{peer.name}: no figures: {err.strip()[-600:]}", file=sys.stderr)
        return {}
    found: Figures = json.loads(out.splitlines()[-1])
    return found


def peer_round(python: Path, peer: Peer, new_url: NewUrl, jobs: int) -> Figures:
    """Both workloads, each on an empty database."""
    drained = program(python, peer, new_url(), ("drain", jobs, PATIENCE))
    return drained | program(python, peer, new_url(), ("every", JOBS, EVERY, WINDOW))


def jobd_round(new_url: NewUrl, jobs: int) -> Figures:
    """The same of jobd."""
    with common.installation(new_url()) as jobd:
        rate = drain.drained(jobd, jobs)
    with common.installation(new_url()) as jobd:
        (seen,) = punctuality.observe(jobd, punctuality.Case(JOBS, EVERY, WINDOW, ()), 1)
    found = {"rate": rate, "done": float(jobs), "ran": seen.ran, "processor": seen.alone}
    return found | {name: common.percentile(seen.late, share) for name, share in (("p50", 0.5), ("p99", 0.99))}


def spread(values: list[float], form: str) -> str:
    """Median (least to most), or a dash."""
    if not values:
        return "-"
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def table(found: dict[tuple[str, str], list[Figures]], jobs: int) -> None:
    """Print what was measured."""
    columns = {"rate": ",.0f", "ran": ".0f", "p50": ",.2f", "p99": ",.2f", "processor": ".1f"}
    print(f"\nDrain of {jobs:,} due jobs, and {JOBS:,} jobs every {EVERY} s. Medians (least to most).\n")
    print("| scheduler | store | runs/s | due times that ran, % | late p50, ms | late p99, ms | processor, % |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (name, database), rounds in found.items():
        cells = [spread([one[key] for one in rounds if key in one], form) for key, form in columns.items()]
        print(f"| {name} | {database} | {' | '.join(cells)} |")
    print(
        "\nThe processor's share is that of the process itself; jobd's two workers come on top, Celery's is not taken."
    )
    cut = {name for (name, _), rounds in found.items() if any(one.get("done", jobs) < jobs * 0.99 for one in rounds)}
    if cut:
        print(f"Not drained in {PATIENCE:.0f} s, the rate is that of what was: {', '.join(sorted(cut))}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--jobs", type=int, default=5_000, help="due jobs of the drain")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    wanted = [PEERS[name] for name in options.peers]
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobd-peers-")))
        urls: dict[str, NewUrl] = {"sqlite": lambda: sqlite_url(Path(tempfile.mkdtemp(dir=scratch)))}
        for kind in {peer.database for peer in wanted} - {"sqlite", "redis"}:
            urls[kind] = stack.enter_context(common.server(kind)).new_database
        if any(peer.database == "redis" for peer in wanted):
            redis = stack.enter_context(broker.running())
            if redis is None:
                print("SKIPPED: Celery needs Redis; install it with: apt-get install redis-server", file=sys.stderr)
            else:
                urls["redis"] = redis.new_database
        wanted = [peer for peer in wanted if peer.database in urls]
        pythons = {peer.name: environment(scratch / peer.program[:-3], peer.packages) for peer in wanted}
        print("What is on disk when a run has ended:")
        for peer in wanted:
            print(f"  {peer.name} on {peer.database}: {peer.durable}")
        print(f"  jobd: {JOBD_DURABLE}", flush=True)
        found: dict[tuple[str, str], list[Figures]] = defaultdict(list)
        for number in range(options.rounds):
            for kind in [kind for kind in urls if kind != "redis"]:
                found["jobd", kind].append(jobd_round(urls[kind], options.jobs))
            for peer in wanted:
                figures = peer_round(pythons[peer.name], peer, urls[peer.database], options.jobs)
                found[peer.name, peer.database].append(figures)
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
        table(found, options.jobs)


if __name__ == "__main__":
    main()
