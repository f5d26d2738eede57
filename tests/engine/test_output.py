"""What a run prints is kept and logged within bounds, whatever it prints."""

import json

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


def test_the_tail_is_kept_and_what_was_cut_is_said() -> None:
    output = Output(100)
    for number in range(1000):
        output.feed(b"line %d\n" % number)
    text = output.take()
    assert text.endswith("line 998\nline 999\n")
    head, kept = text.split("\n", 1)
    assert head == "[jobd: 8,790 bytes of output before this were cut]"
    assert len(kept) <= 100
    assert kept.startswith("line ")


def test_what_was_cut_is_counted_from_the_beginning() -> None:
    output = Output(10)
    output.feed(b"0123456\n")
    output.take()
    output.feed(b"0123456789012345678\n")
    assert output.take().startswith("[jobd: 18 bytes of output before this were cut]\n")


def test_the_log_gets_no_more_than_the_limit_and_one_line_that_says_so() -> None:
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
