"""Run a jobd command in this process and count what it did: bytecodes on a second run, and the modules it has loaded.

python -m benchmarks.traced '["list"]' '["list", "--json"]' runs the first to warm up and counts the second. It imports
nothing of its own that could be counted.
"""

import os
import sys

_done = 0


def _count(frame, event, _argument):  # type: ignore[no-untyped-def]
    """Count each bytecode of every Python function."""
    global _done
    if event == "call":
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
    elif event == "opcode":
        _done += 1
    return _count


def _command(words: list[str]) -> None:
    from jobd.__main__ import run

    try:
        run(words)
    except SystemExit as end:
        if end.code:
            raise


def main() -> None:
    """Print the two numbers on stderr, away from what the command prints."""
    import ast

    before = set(sys.modules)
    _command(ast.literal_eval(sys.argv[1]))
    modules = len(set(sys.modules) - before)
    sys.settrace(_count)
    try:
        _command(ast.literal_eval(sys.argv[2]))
    finally:
        sys.settrace(None)
    os.write(2, f"{_done} {modules}\n".encode())


if __name__ == "__main__":
    main()
