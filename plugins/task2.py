"""The second of the three example tasks: run once by `make run`."""

import jobd


@jobd.task
def task2() -> None:
    """Say that it runs."""
    print("task2 running.....")
