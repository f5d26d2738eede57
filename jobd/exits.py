"""What a signal that ended a process is called."""

import signal


def signal_name(number: int) -> str:
    """SIGKILL, SIGRTMIN+1; "signal 32" for what has no name (the C library's own)."""
    try:
        return signal.Signals(number).name
    except ValueError:
        first, last = signal.SIGRTMIN, signal.SIGRTMAX
        return f"SIGRTMIN+{number - first}" if first < number < last else f"signal {number}"
