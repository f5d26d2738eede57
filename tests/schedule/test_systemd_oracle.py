"""Calendar expressions and durations against systemd's own programs, thousands of seeded cases."""

import random
import re
import shutil
import subprocess
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from jobd.clock import SECOND, to_datetime
from jobd.schedule.duration import parse_duration
from jobd.schedule.zone import changes, clock_time
from tests.schedule.moments import moment, parsed
from tests.servers import missing

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "Asia/Kathmandu",  # a quarter
    "Australia/Adelaide",  # southern, half an hour
    "America/Sao_Paulo",  # dropped daylight saving
    "Pacific/Apia",  # skipped a day, dropped daylight saving
    "Africa/Cairo",
    # Not Morocco and Ireland, whose standard time is that of summer, nor Chatham, where the clocks go from 2:45 to
    # 3:45: there systemd 252, when it meets a time that the clocks skip, gives up the rest of the day or of the hour.
    # jobd goes on with the next time that matches.
)
FROM, TO = moment("2024-01-01T00:00Z"), moment("2031-01-01T00:00Z")
ITERATIONS = 6


@pytest.fixture(scope="module", autouse=True)
def systemd_analyze() -> None:
    if not shutil.which("systemd-analyze"):
        missing("systemd", "apt-get install systemd")


def oracle(expressions: list[str], start: int) -> list[list[int]]:
    """What `systemd-analyze calendar` says comes after `start` (whole seconds), for each expression.

    Nothing where it gives up ("Resource deadlock avoided"), as it does on some times that the clocks skip.
    """
    base = f"{to_datetime(start):%Y-%m-%d %H:%M:%S} UTC"
    command = ["systemd-analyze", "calendar", f"--base-time={base}", f"--iterations={ITERATIONS}", *expressions]
    printed = subprocess.run(command, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True).stdout
    found = []
    for block in printed.strip().split("\n\n"):
        stamps = re.findall(r"(?:Next elapse|Iter(?:\.|ation) #\d+): \w+ (\S+ \S+) UTC", block)
        clocks = [datetime.fromisoformat(stamp).replace(tzinfo=UTC) for stamp in stamps]
        found.append([int(clock.timestamp()) * SECOND for clock in clocks])
    if len(found) < len(expressions) > 1:
        return [oracle([expression], start)[0] for expression in expressions]
    return found


def some_calendar(rng: random.Random) -> str:
    """A random expression, about the small hours as often as not."""
    weekday = rng.choice(["", "", "Mon..Fri ", "Sun ", "Sat,Sun ", "Tue ", "Mon,Wed..Fri "])
    date = rng.choice(
        ["", "*-*-* ", "*-*-1 ", "*-3,10-* ", "*-*-25..31 ", "*-*~1 ", "*-10-1/3 ", "*-*~7/1 ", "2027-*-* "]
    )
    hour = rng.choice(["*", "1", "2", "3", "0,2", "1..3", "0/2", "0", "23", str(rng.randrange(24))])
    minute = rng.choice(["00", "30", "*", "0/15", "5,35", "10..12", str(rng.randrange(60))])
    second = rng.choice(["", "", "", ":30", ":0/20"])
    return f"{weekday}{date}{hour}:{minute}{second}"


def nights(zone: str) -> list[int]:
    """Moments shortly before every change of the clocks, and some others."""
    rng = random.Random(zone)
    found = [change.moment - rng.randrange(1, 20) * 1800 * SECOND for change in changes(ZoneInfo(zone), FROM, TO)]
    return [at // SECOND * SECOND for at in found] + [rng.randrange(FROM, TO) // SECOND * SECOND for _ in range(6)]


@pytest.mark.parametrize("zone", ZONES)
def test_calendar_expressions_are_due_when_systemd_says(zone: str) -> None:
    """Clock times are compared, without offsets.

    If clocks show a time twice, systemd takes either one (glibc's mktime remembers its last offset). jobd always takes
    the first.
    """
    rng = random.Random(f"calendar {zone}")
    compared = 0
    for start in nights(zone):
        expressions = sorted({f"{some_calendar(rng)} {zone}" for _ in range(20)})
        for expression, expected in zip(expressions, oracle(expressions, start), strict=True):
            schedule, due, found = parsed(f"calendar {expression}"), start, []
            for _ in expected:
                due = schedule.after(due, 0) or 0
                found.append(due)
            place = ZoneInfo(zone)
            clocks = [[clock_time(moment, place) for moment in some] for some in (found, expected)]
            assert clocks[0] == clocks[1], (expression, f"{to_datetime(start):%F %T}")
            compared += len(expected)
    assert compared > 500


def test_durations_mean_the_same_as_in_systemd() -> None:
    rng = random.Random("durations")
    units = ["w", "d", "h", "m", "s", "ms", "us"]
    texts = []
    for _ in range(1000):
        some = sorted(rng.sample(units, rng.randint(1, 4)), key=units.index)
        texts.append("".join(f"{rng.randrange(1, 100)}{unit}" for unit in some))
    texts = sorted(set(texts))
    printed = subprocess.run(["systemd-analyze", "timespan", *texts], capture_output=True, text=True).stdout
    expected = [int(number) for number in re.findall(r"μs: (\d+)", printed)]
    assert len(expected) == len(texts) > 500
    assert [parse_duration(text) for text in texts] == expected
