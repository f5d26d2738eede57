"""Log records in the output of a run: whole ones, ones in pieces, and text that only looks like one."""

import json

import pytest

from jobd.engine.log_records import MAX_OPEN, MAX_PIECES, MAX_SIZE, Records
from jobd.wire import LEVELS, MAX_RECORD_PIECE


def pieces(message: str, size: int, level: str = "info", key: int = 7) -> list[bytes]:
    """The lines of a record, as a worker sends them."""
    text = json.dumps(message)
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    return [f"{level}{'+' if part is not parts[-1] else '='}{key} {part}".encode() for part in parts]


@pytest.mark.parametrize("level", LEVELS)
def test_a_record_has_its_level_and_its_message_with_all_characters(level: str) -> None:
    message = 'two\nlines, "quotes" and ∞ 😀'
    assert Records().read(f"{level} {json.dumps(message)}".encode()) == [(level, message)]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"info",
        b"info hello",
        b'fatal "hello"',
        b'info "hello',
        b"info 5",
        b'info+x "hello"',
        b'fatal+7 "hello"',
        b'\xff "hello"',
        b'info "' + b"x" * MAX_RECORD_PIECE + b'"',
    ],
)
def test_text_of_a_task_that_is_no_record_stays_text(line: bytes) -> None:
    records = Records()
    assert records.read(line) is None
    assert records.end() == []


def test_a_record_in_pieces_is_complete_with_the_last_one() -> None:
    records, message = Records(), "a\u221e\U0001f600" * 100
    *first, last = pieces(message, 40)
    assert [records.read(line) for line in first] == [[]] * len(first)
    assert records.size > 0
    assert records.read(last) == [("info", message)]
    assert (records.size, records.end()) == (0, [])


def test_records_of_several_threads_do_not_mix() -> None:
    records = Records()
    one, other = pieces("one" * 50, 100, key=1), pieces("other" * 30, 100, "error", key=2)
    found = [record for lines in zip(one, other, strict=True) for line in lines for record in records.read(line) or ()]
    assert found == [("info", "one" * 50), ("error", "other" * 30)]


@pytest.mark.parametrize("size", range(1, 14))
def test_a_record_without_its_last_piece_is_cut_and_not_lost(size: int) -> None:
    records = Records()
    text = json.dumps("so far \U0001f600 and more")
    cut = text[: text.index("and")][: -size or None]
    records.read(f"warning+3 {cut}".encode())
    ((level, message),) = records.end()
    assert level == "warning"
    assert "so far \U0001f600 ".startswith(message.removesuffix("\ud83d")), "half a character may be left"


def test_the_memory_for_incomplete_records_is_bounded() -> None:
    records = Records()
    for key in range(MAX_OPEN):
        assert records.read(f'info+{key} "part'.encode()) == []
    assert records.read(b'info+99 "part') == [("info", "part")] * (MAX_OPEN + 1)
    assert records.size == 0
    found = records.read(b'info+1 "') or []
    for _ in range(MAX_PIECES - 1):
        assert found == []
        found = records.read(b"info+1 x") or []
    assert found == [("info", "x" * (MAX_PIECES - 1))], "so many pieces are a whole record"


def test_incomplete_records_with_too_many_bytes_are_cut() -> None:
    records, long = Records(), b"x" * 4_000
    found: list[tuple[str, str]] = []
    for key in range(MAX_OPEN):
        found += records.read(b'info+%d "' % key + long) or []
    for number in range(MAX_SIZE // len(long)):
        found += records.read(b"info+%d " % (number % MAX_OPEN) + long) or []
        assert records.size <= MAX_SIZE
    assert len(found) == MAX_OPEN
