"""The retries and log messages of a database outage, as a pure value."""

from jobd.clock import MILLISECOND, MINUTE, SECOND
from jobd.engine.outage import MAX_LOGGED_REASONS, RETRY_FIRST, RETRY_LAST, RETRY_ON_REQUEST, Outage


def test_the_pause_before_a_retry_doubles_up_to_its_limit() -> None:
    outage, now, pauses = Outage(), 0, []
    for _ in range(12):
        outage.failed("away", now)
        pauses.append(outage.retry_at - now)
        now = outage.retry_at
    assert pauses[:3] == [RETRY_FIRST, 2 * RETRY_FIRST, 4 * RETRY_FIRST]
    assert pauses[-1] == max(pauses) == RETRY_LAST


def test_a_success_ends_the_outage_and_the_next_one_begins_with_the_shortest_pause() -> None:
    outage = Outage()
    for now in range(0, 10 * SECOND, SECOND):
        outage.failed("away", now)
    assert outage.succeeded()
    assert outage.problem is None
    assert not outage.succeeded()
    outage.failed("away", MINUTE)
    assert outage.retry_at == MINUTE + RETRY_FIRST


def test_a_command_that_waits_brings_the_retry_forward_and_never_puts_it_off() -> None:
    outage = Outage()
    for _ in range(12):
        outage.failed("away", 0)
    outage.hurry()
    assert outage.retry_at == RETRY_ON_REQUEST
    outage.succeeded()
    outage.failed("away", 0)
    outage.hurry()
    assert outage.retry_at == RETRY_FIRST


def test_each_error_is_logged_at_once_and_then_once_a_minute() -> None:
    outage = Outage()
    assert outage.failed("refused", 0)
    assert not outage.failed("refused", 59 * SECOND)
    assert outage.failed("unknown host", 59 * SECOND + MILLISECOND)
    assert outage.failed("refused", 3 * MINUTE)
    assert outage.problem == "refused"


def test_errors_that_differ_each_time_do_not_flood_the_log() -> None:
    outage = Outage()
    logged = [outage.failed(f"error {number}", number * MILLISECOND) for number in range(100)]
    assert sum(logged) == MAX_LOGGED_REASONS


def test_an_error_of_the_outage_before_is_logged_again() -> None:
    outage = Outage()
    assert outage.failed("refused", 0)
    outage.succeeded()
    assert outage.failed("refused", MILLISECOND)
