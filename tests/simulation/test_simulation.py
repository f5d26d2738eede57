"""Simulations of many seeds, and the proof that the simulator finds planted bugs."""

import os
from collections.abc import Callable

import pytest

from tests.simulation.cluster import EQUAL, SimCluster
from tests.simulation.mutants import HINTS, MUTANTS
from tests.simulation.seeds import REGRESSIONS
from tests.simulation.special_clusters import CLUSTERS, SmallBuffers

SEEDS = int(os.environ.get("JOBD_TEST_SEEDS", "100"))  # `make simulate` runs more
ENOUGH = 1_000  # seeds within which a planted bug must be found


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_the_seeds_of_repaired_faults_pass(seed: int) -> None:
    SimCluster(seed, EQUAL).run()


@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_every_promise_holds_in_every_world(first: int) -> None:
    for seed in range(first, first + 20):
        cluster = SimCluster(seed)
        try:
            cluster.run()
        except Exception:
            print("\n".join(cluster.trace_lines[-60:]), f"\nJOBD_SIM_SEED={seed}")
            raise


def test_dropped_output_is_reported_in_its_place() -> None:
    dropped = 0
    for seed in range(6):
        cluster = SmallBuffers(seed)
        cluster.run()
        ((count,),) = cluster.database.rows(
            "SELECT count(*) FROM output WHERE text LIKE '%bytes of output were dropped%'"
        )
        dropped += count
    assert dropped


def test_a_seed_gives_the_same_events_each_time() -> None:
    def trace() -> list[str]:
        cluster = SimCluster(7)
        cluster.run()
        return [line for line in cluster.trace_lines if "process" not in line]

    assert trace() == trace()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_found(name: str) -> None:
    cluster: Callable[[int], SimCluster] = CLUSTERS.get(name, lambda seed: SimCluster(seed, EQUAL))
    for seed in (HINTS[name], *range(ENOUGH)):
        try:
            with MUTANTS[name]():
                cluster(seed).run()
        except Exception:
            cluster(seed).run()  # a seed that fails without the bug too has not found it
            return
    pytest.fail(f"{name}: not found in {ENOUGH} seeds")
