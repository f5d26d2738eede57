"""The command line imports only needed modules at its start. Each case is a fresh interpreter."""

import subprocess
import sys

import pytest

from jobd.schedule import parse

SLOW = ("zoneinfo", "cronsim", "oncalendar", "difflib", "dataclasses")


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("10s", set()),
        ("after 5m", set()),
        ("at 2026-12-24T18:00", {"zoneinfo"}),
        ("0 0 * * *", {"zoneinfo", "cronsim"}),
    ],
)
def test_a_schedule_imports_only_the_modules_of_its_kind(text: str, needed: set[str]) -> None:
    program = "import sys; from jobd.schedule import parse; parse(sys.argv[1], False, 'UTC'); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program, text], capture_output=True, text=True, check=True).stdout
    assert {name for name in SLOW if name in modules.split()} == needed


def test_only_the_h_of_a_cron_expression_asks_for_the_name() -> None:
    assert parse("1h", False, "UTC", "a") is parse("1h", False, "UTC", "b")
    assert parse("@hourly", False, "UTC", "a").text == parse("@hourly", False, "UTC", "b").text
    for text in ("H H * * *", "h\tH\t*\t*\t*", "1h; H H * * *"):
        assert parse(text, False, "UTC", "a").text != parse(text, False, "UTC", "b").text
