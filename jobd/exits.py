"""What the end of a process is called."""

import signal


def signal_name(number: int) -> str:
    """SIGKILL, SIGRTMIN+1; "signal 32" for what has no name (the C library's own)."""
    try:
        return signal.Signals(number).name
    except ValueError:
        first, last = signal.SIGRTMIN, signal.SIGRTMAX
        return f"SIGRTMIN+{number - first}" if first < number < last else f"signal {number}"


def describe(status: int) -> str:
    """What the exit status of a worker means for the run that it was in."""
    if status == -signal.SIGKILL:
        return "its process was killed by SIGKILL (perhaps the system was out of memory)"
    if status < 0:
        return f"its process was killed by {signal_name(-status)}"
    return f"its process ended with exit code {status} before the task returned"
