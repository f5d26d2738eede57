"""python -m tests.simulation FIRST COUNT: run the worlds of COUNT seeds; a failing one tells its story."""

import sys
import time

from tests.simulation.world import World


def main() -> None:
    """Run the seeds that were asked for."""
    first, count = int(sys.argv[1]), int(sys.argv[2])
    began = time.monotonic()
    failed = []
    for seed in range(first, first + count):
        world = World(seed)
        try:
            world.run()
        except Exception as error:
            failed.append(seed)
            if len(failed) <= 3:
                print("\n".join(world.story[-int(sys.argv[3]) if len(sys.argv) > 3 else -60 :]))
            print(f"seed {seed}: {type(error).__name__}: {error}", flush=True)
    print(f"{count} seeds, {len(failed)} failed: {failed[:20]}; {time.monotonic() - began:.1f} s")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
