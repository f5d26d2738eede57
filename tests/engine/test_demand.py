"""How many claims a cycle adds to those that a pool holds."""

from jobd.engine.claims import HeldClaims
from jobd.engine.demand import MAX_CLAIMS, MAX_SHARED_CLAIMS, Capacity, Demand, capacities


def test_claims_are_added_in_batches_when_half_of_them_are_used() -> None:
    demand = Demand(100, 100)
    assert [demand.room(holding) for holding in (0, 49, 50, 51, 100, 200)] == [100, 51, 50, 0, 0, 0]


def test_a_pool_that_can_use_nothing_gets_nothing() -> None:
    assert [Demand(0, 0).room(holding) for holding in (0, 1)] == [0, 0]


def test_a_node_holds_fewer_claims_while_other_nodes_exist() -> None:
    demand = Demand(10_000, 10_000, overtaking=3, priority=5)
    assert demand.bounded(alone=True) == Demand(MAX_CLAIMS, MAX_CLAIMS, 3, 5)
    assert demand.bounded(alone=False) == Demand(MAX_SHARED_CLAIMS, MAX_SHARED_CLAIMS, 3, 5)
    assert Demand(10, 4).bounded(alone=False) == Demand(10, 4)


def test_the_claims_that_a_cycle_releases_make_room_for_others() -> None:
    held = HeldClaims({})
    for job_id in range(1, 7):
        held.add(job_id, 1, "default")
    held.add(7, 1, "other")
    demands = {
        "default": lambda horizon: Demand(horizon, 2, overtaking=1, priority=4),
        "other": lambda horizon: Demand(2, 9),
    }
    assert capacities(demands, 10, held, {1, 2, 7}, alone=True) == {
        "default": Capacity(6, 2, holding=4, before=6, overtaking=1, priority=4),
        "other": Capacity(2, 2, holding=0, before=1),
    }
    assert capacities(demands, 10, held, set(), alone=True)["default"].room == 0
