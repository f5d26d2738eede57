"""The third of the three example tasks: run once by `make run`, with three retries, because it always fails."""

import jobd


@jobd.task
def task3() -> None:
    """Say that it runs, and fail."""
    print("task3 running.....")
    raise RuntimeError("task3 always fails")
