"""A long wait is shortened, so that the kernel's tolerance does not delay its end."""

import pytest

from jobd.daemon.service import shortened

TOLERANCE = 0.005  # of its timeout that a select() may be late, at most: in a process made nice
CLOSE = 0.000_3  # seconds


@pytest.mark.parametrize("wait", [0.0, 0.001, 0.02, 0.0501, 1.0, 10.0, 3_600.0, 86_400.0])
def test_no_wait_is_late_by_more_than_the_tolerance_of_a_short_one(wait: float) -> None:
    left, waits = wait, 0
    while left > 0:
        left -= shortened(left) * (1 + TOLERANCE)  # as late as it may be
        waits += 1
    assert left > -CLOSE
    assert waits <= 6, "a wait is not to become a watch"
