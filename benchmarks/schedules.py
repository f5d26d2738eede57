"""Parse 10,000 different schedules of all kinds, find the next due time of each; the slowest answer to nonsense."""

import argparse
import random
import time

from benchmarks.common import figure
from jobd.errors import BadValue
from jobd.schedule import parse

COUNT = 10_000
NOW = 1_795_465_213_000_000
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
HOSTILE = (
    "0 0 30 2 *",
    "0 0 31 4,6,9,11 *",
    "0 0 * 2 MON#5",
    "calendar *-02-30",
    "calendar 2199-12-31 23:59:59",
    "calendar Mon *-02-29 00:00",
    "* " * 120,
    "*" * 10_000,
    "1" * 10_000,
    ";" * 255,
    "0 0 29 2 MON#5",
    "TZ=Mars/Base 10s",
    "every " + "1h" * 100,
    "H(0-59)/60 * * * *",
)


def some(rng: random.Random) -> str:
    """A schedule of some kind."""
    minute, hour, day = rng.randrange(60), rng.randrange(24), rng.randrange(1, 29)
    return rng.choice(
        [
            f"{rng.randrange(1, 10_000)}s",
            f"after {rng.randrange(1, 10_000)}s",
            f"{minute} {hour} * * *",
            f"{minute} {hour} {day} * *",
            f"*/{rng.randrange(2, 30)} {hour} * * MON-FRI",
            f"{rng.randrange(60)} */5 {hour} * * *",
            f"H {hour} * * {rng.randrange(7)}",
            f"calendar Mon..Fri *-*-* {hour}:{minute:02}",
            f"at 2027-{rng.randrange(1, 13):02}-{day:02}T{hour:02}:{minute:02}",
            f"{minute} {hour} * * *; {rng.randrange(1, 99)}m",
        ]
    )


def main() -> None:
    """Measure, each time other schedules."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rng = random.Random(5)
    parse("calendar daily; 0 0 * * *", False, "UTC")  # the libraries are loaded
    seconds, parsed = [], []
    for _ in range(rounds):
        cases = [(some(rng), rng.choice(ZONES)) for _ in range(COUNT)]
        started = time.perf_counter()
        schedules = [parse(text, False, zone, f"job{number}") for number, (text, zone) in enumerate(cases)]
        parsed.append(time.perf_counter() - started)
        started = time.perf_counter()
        for schedule in schedules:
            schedule.after(NOW, NOW)
        seconds.append(time.perf_counter() - started)
    figure("next due time of 10,000 mixed schedules", seconds, "s", 3)
    figure("to parse them first", parsed, "s", 3)
    slowest = []
    for text in HOSTILE:
        started = time.perf_counter()
        try:
            parse(text, False, "Europe/Berlin").after(NOW, NOW)
        except BadValue:
            pass
        slowest.append((time.perf_counter() - started) * 1000)
    figure("answer to a hostile or impossible one", slowest, "ms", 2)


if __name__ == "__main__":
    main()
