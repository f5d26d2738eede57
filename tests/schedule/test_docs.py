"""docs/schedules.md is true: the documented forms are accepted, and those documented as refused are refused."""

import re
from pathlib import Path

import pytest

from jobd.schedule import ScheduleError
from jobd.schedule.dialects import ALIASES
from jobd.schedule.words import compile_every
from tests.schedule.moments import NOW, parsed

OFFERED, REFUSED = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text("utf-8").split("## Refused")
ROW = re.compile(r"^\| `([^`]+)` \| (.*) \|$", re.MULTILINE)


TYPED = re.compile(r'^\| --every "([^"]+)" \| `([^`]+)` \|$', re.MULTILINE)


@pytest.mark.parametrize(("typed", "stored"), TYPED.findall(OFFERED))
def test_the_documentation_of_words_is_true(typed: str, stored: str) -> None:
    assert compile_every(typed) == stored


@pytest.mark.parametrize("text", [text for text, _ in ROW.findall(OFFERED) if text[:2] != "--" and text != "calendar"])
def test_documented_forms_are_accepted(text: str) -> None:
    assert parsed(text, "Europe/Berlin").first(NOW) is not None


@pytest.mark.parametrize("text", [text for text, _ in ROW.findall(REFUSED)])
def test_forms_documented_as_refused_are_refused(text: str) -> None:
    with pytest.raises(ScheduleError):
        parsed(text, "Europe/Berlin")


def test_the_documentation_names_every_alias() -> None:
    assert all(f"`{alias}`" in OFFERED for alias in ALIASES)
    assert all(expression == ALIASES[alias] for alias, expression in re.findall(r"\| `(@\w+)` \| `([^`]+)`", OFFERED))
