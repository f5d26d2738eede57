"""The first of the three example tasks: run every 10 seconds by `make run`."""

import jobd


@jobd.task
def task1() -> None:
    """Say that it runs."""
    print("task1 running.....")
