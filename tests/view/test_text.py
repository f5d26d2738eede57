"""Stored values as text: pure."""

import subprocess
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.clock import from_datetime
from jobd.printable import escape, escape_lines
from jobd.view.text import moment, quoted, span

NOON = from_datetime(datetime(2026, 11, 23, 12, tzinfo=UTC))


def test_no_stored_text_can_move_the_cursor_or_forge_a_line() -> None:
    nasty = "a\x1b[2Jb\nc\rd\x9be\u202ef\u200bg\u2028h\x7f"
    assert escape(nasty) == "a\\x1b[2Jb\\nc\\rd\\x9be\\u202ef\\u200bg\\u2028h\\x7f"
    assert escape("plain, ü, 日本, 😀") == "plain, ü, 日本, 😀"
    assert escape("\udcff") == "\\udcff"


def test_output_keeps_its_lines_and_nothing_else() -> None:
    assert escape_lines("a\tb\nc\x1b[31md\r\n") == "a\tb\nc\\x1b[31md\\r\n"


def test_times_have_their_offset_and_leave_out_today() -> None:
    assert moment(NOON).startswith("2026-11-2")
    assert len(moment(NOON)) == len("2026-11-23 13:00:00+01:00")
    assert len(moment(NOON, NOON)) == len("13:00:00+01:00")
    assert moment(None) == "-"


def test_measured_durations_have_three_figures() -> None:
    assert [span(250), span(12_345), span(1_500_000), span(61_000_000), span(150_000_000), span(7_260_000_000)] == [
        "0.25 ms",
        "12.3 ms",
        "1.5 s",
        "61 s",
        "2m30s",
        "2h01m",
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20), min_size=1, max_size=5
    )
)
def test_quoted_words_are_one_line_that_bash_reads_back(words: list[str]) -> None:
    line = quoted(words)
    assert line.isprintable()
    read = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert read.stdout.decode().split("\0")[:-1] == words
