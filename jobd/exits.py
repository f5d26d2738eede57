"""Texts for the exit status of a process."""

import signal


def signal_name(number: int) -> str:
    """SIGKILL, SIGRTMIN+1; "signal 32" for a signal without a name (the C library reserves some)."""
    try:
        return signal.Signals(number).name
    except ValueError:
        first, last = signal.SIGRTMIN, signal.SIGRTMAX
        return f"SIGRTMIN+{number - first}" if first < number < last else f"signal {number}"


def describe(status: int) -> str:
    """The error text of a run whose worker ended with this exit status (negative: killed by a signal)."""
    if status == -signal.SIGKILL:
        return "its process was killed by SIGKILL (perhaps the system was out of memory)"
    if status < 0:
        return f"its process was killed by {signal_name(-status)}"
    return f"its process ended with exit code {status} before the task returned"
