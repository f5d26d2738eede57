"""Calls of Linux that jobd makes itself."""

import subprocess
import sys

# The process in the middle, in the group of this one, ends at about the moment at which its child, in a group of its
# own, is looked for.
ORPHANS = """
import os, signal, time
from jobd import linux

linux.adopt_orphans()
for number in range(300):
    ready, report = os.pipe()
    started, start = os.pipe()
    middle = os.fork()
    if not middle:
        child = os.fork()
        if not child:
            os.setpgid(0, 0)
            os.write(report, str(os.getpid()).encode())
            time.sleep(30)
            os._exit(0)
        os.read(started, 1)
        end = time.perf_counter() + number % 30 * 1e-5
        while time.perf_counter() < end:
            pass
        os.execv("/bin/true", ["true"]) if number % 2 else os._exit(0)
    child = int(os.read(ready, 20))
    os.write(start, b"x")
    linux.terminate_other_groups()
    os.waitpid(middle, 0)
    signal.alarm(20)  # by then it has got the signal, or never will
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    for descriptor in (ready, report, started, start):
        os.close(descriptor)
"""


def test_a_descendant_whose_parent_ends_meanwhile_gets_the_signal_too() -> None:
    done = subprocess.run([sys.executable, "-c", ORPHANS], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
