"""Packets in shared memory: they arrive, damaged memory causes no crash, and no process can shrink the memory."""

import os

import pytest

from jobd.ring import MAX_ANSWER, MAX_ORDER, SLOTS, make, rings


@pytest.fixture
def memory() -> int:
    return make()


def test_another_process_that_has_mapped_the_memory_reads_the_packets(memory: int) -> None:
    orders, answers = rings(memory)
    seen_orders, seen_answers = rings(memory)
    for number in range(3 * SLOTS):
        orders.put(number, f"order {number}".encode() * (number + 1))
        answers.put(number, f"answer {number}".encode())
        assert seen_orders.get(number) == f"order {number}".encode() * (number + 1)
        assert seen_answers.get(number) == f"answer {number}".encode()


def test_the_longest_packets_touch_no_neighbour(memory: int) -> None:
    orders, answers = rings(memory)
    for number in range(SLOTS):
        orders.put(number, bytes([number + 1]) * MAX_ORDER)
        answers.put(number, bytes([number + 101]) * MAX_ANSWER)
    for number in range(SLOTS):
        assert orders.get(number) == bytes([number + 1]) * MAX_ORDER
        assert answers.get(number) == bytes([number + 101]) * MAX_ANSWER


def test_a_packet_that_is_too_long_is_refused_by_the_writer_and_not_seen_by_the_reader(memory: int) -> None:
    orders, answers = rings(memory)
    with pytest.raises(ValueError, match="too long"):
        orders.put(0, b"x" * (MAX_ORDER + 1))
    answers.put(0, b"fine")
    answers._memory[answers._start : answers._start + 4] = b"\xff\xff\xff\xff"
    assert answers.get(0) == b""
    assert answers.get(1) == b"", "a place that nobody has written to holds nothing"


def test_no_process_can_shorten_the_memory_under_a_reader(memory: int) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(memory, 0)
