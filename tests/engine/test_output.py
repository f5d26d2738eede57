"""Output of a run is kept and logged within bounds, for every content."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.engine.output import MAX_LINE, Output
from jobd.wire import LEVEL_MARK


def record(level: str, message: str) -> bytes:
    return f"{LEVEL_MARK}{level} {json.dumps(message)}\n".encode()


def test_lines_are_passed_on_as_they_are_completed() -> None:
    output = Output(1000)
    assert output.feed(b"one\ntw") == [("info", "one")]
    assert output.feed(b"o\n") == [("info", "two")]
    assert output.feed(b"rest") == []
    assert output.end() == [("info", "rest")]
    assert output.take() == "one\ntwo\nrest\n"


def test_a_record_of_a_logging_library_keeps_its_level_and_its_line_breaks() -> None:
    output = Output(1000)
    assert output.feed(record("warning", "first\nsecond")) == [("warning", "first\nsecond")]
    assert output.take() == "first\nsecond\n"


def test_a_line_that_only_looks_like_a_record_is_an_ordinary_line() -> None:
    output = Output(1000)
    assert output.feed(LEVEL_MARK.encode() + b"info no json\n")[0][0] == "info"


def test_the_tail_is_kept_and_the_cut_is_reported() -> None:
    output = Output(100)
    for number in range(1000):
        output.feed(b"line %d\n" % number)
    text = output.take()
    assert text.endswith("line 998\nline 999\n")
    head, kept = text.split("\n", 1)
    assert head == "[jobd: 8,790 bytes of output before this were cut]"
    assert len(kept) <= 100
    assert kept.startswith("line ")


def test_cut_output_is_counted_from_the_beginning() -> None:
    output = Output(10)
    output.feed(b"0123456\n")
    output.take()
    output.feed(b"0123456789012345678\n")
    assert output.take().startswith("[jobd: 18 bytes of output before this were cut]\n")


def test_the_log_gets_no_more_than_the_limit_and_one_line_about_it() -> None:
    output = Output(100)
    passed = [line for number in range(1000) for line in output.feed(b"line %d\n" % number)]
    assert sum(len(line) for _, line in passed[:-1]) <= 100
    assert passed[-1][0] == "warning"
    assert "not logged" in passed[-1][1]


def test_a_gigabyte_without_a_line_break_costs_no_memory() -> None:
    output = Output(1000)
    for _ in range(1024):
        output.feed(b"x" * 64 * 1024)
    assert len(output._tail) <= 2000 + MAX_LINE + 64 * 1024
    assert len(output._line) <= MAX_LINE


def test_bytes_that_are_not_text_are_shown_as_such() -> None:
    output = Output(1000)
    output.feed(b"\xff\xfe\0\n")
    assert output.take() == "\ufffd\ufffd\ufffd\n"


def test_a_record_after_a_line_without_an_end_is_a_record() -> None:
    output = Output(1000)
    assert output.feed(b"50 %" + record("error", "no")) == [("info", "50 %"), ("error", "no")]
    assert output.take() == "50 %\nno\n"


def test_a_long_record_in_pieces_stays_one_record_with_other_output_between_them() -> None:
    text = json.dumps("é" * 1_500)
    mark = LEVEL_MARK.encode()
    pieces = [mark + b"error+7 " + text[:4_000].encode(), mark + b"error+7 " + text[4_000:8_000].encode()]
    last = mark + b"error=7 " + text[8_000:].encode()
    output = Output(100_000)
    passed = output.feed(b"\n".join([pieces[0], b"between", pieces[1], last]) + b"\n")
    assert passed == [("info", "between"), ("error", "é" * 1_500)]


@pytest.mark.parametrize("missing", range(14))
def test_the_received_part_of_an_incomplete_record_is_kept(missing: int) -> None:
    text = json.dumps("ab\U0001f600").encode()
    output = Output(1000)
    output.feed(LEVEL_MARK.encode() + b"info+7 " + text[: len(text) - missing] + b"\n")
    assert output.end() == [("info", "ab\U0001f600" if missing < 2 else "ab" if missing < 13 else "a")] or (
        output.take().startswith("ab")
    )


@pytest.mark.parametrize("forged", ["[" * 4_000, "{}", "1", "null", '"a', ""])
@pytest.mark.parametrize("level", ["info", "wrong", "info+", "info+x", "info=", "\xff"])
def test_an_invalid_record_is_an_ordinary_line(level: str, forged: str) -> None:
    output = Output(100_000)
    line = f"{LEVEL_MARK}{level} {forged}"
    assert output.feed(line.encode() + b"\n") == [("info", line)]


def test_many_records_in_one_line_end_nothing() -> None:
    output = Output(10_000_000)
    output.feed(record("info", "a")[:-1] * 20_000 + b"\n")
    assert output.take().endswith("a\n")


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\x1e", "é".encode(), b"\xff", record("info", "b"), b"x" * 9_000])),
    st.data(),
)
def test_the_kept_output_does_not_depend_on_the_chunks(parts: list[bytes], data: st.DataObject) -> None:
    whole, sliced = Output(10**6), Output(10**6)
    text = b"".join(parts)
    whole.feed(text)
    while text:
        size = data.draw(st.sampled_from([1, 3, 100, 10_000]))
        sliced.feed(text[:size])
        text = text[size:]
    whole.end()
    sliced.end()
    assert whole.take() == sliced.take()


def test_a_long_line_is_kept_as_it_was_printed_and_no_letter_is_cut() -> None:
    output = Output(10**6)
    passed = output.feed(("é" * 100_000).encode()) + output.end()
    assert output.take() == "é" * 100_000 + "\n"
    assert "".join(line for _, line in passed) == "é" * 100_000
    assert all(len(line.encode()) <= MAX_LINE for _, line in passed)
