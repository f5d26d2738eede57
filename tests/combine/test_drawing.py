"""Drawing, shrinking and the planted faults, without a daemon."""

from pathlib import Path

import pytest

from tests.combine.faults import FAULTS
from tests.combine.judge import CHECKS
from tests.combine.planted import plant
from tests.combine.scenario import Step, from_json
from tests.combine.shrink import shrink
from tests.combine.situations import SITUATIONS, draw


def test_a_seed_gives_the_same_scenario_each_time_and_survives_json() -> None:
    for seed in range(50):
        scenario = draw(seed, 20, shared=True)
        assert draw(seed, 20, shared=True) == scenario
        assert from_json(scenario.to_json()) == scenario


def test_the_first_seeds_draw_every_situation() -> None:
    assert {draw(seed, 20, shared=True).kind for seed in range(100)} == set(SITUATIONS)


def test_a_failing_scenario_is_cut_down_to_what_it_needs() -> None:
    scenario = next(one for one in (draw(seed, 20, shared=False) for seed in range(100)) if one.kind == "mixed")
    wanted = Step(3.0, "cancel", scenario.jobs[-1].name)
    scenario = scenario._replace(steps=(*scenario.steps, wanted))
    small = shrink(scenario, lambda one: wanted in one.steps and scenario.jobs[-1] in one.jobs, 500)
    assert small.steps == (wanted,)
    assert small.jobs == scenario.jobs[-1:]


def test_a_job_that_runs_after_others_is_left_out_with_them() -> None:
    scenario = next(one for one in (draw(seed, 20, shared=False) for seed in range(100)) if one.kind == "after")
    child = scenario.jobs[-1]
    small = shrink(scenario, lambda one: child in one.jobs, 500)
    assert {job.name for job in small.jobs} == {child.name, *child.parents()}


@pytest.mark.parametrize("name", FAULTS)
def test_each_planted_fault_fits_the_code(name: str, tmp_path: Path) -> None:
    plant(FAULTS[name], tmp_path)


def test_each_planted_fault_names_existing_situations_and_checks() -> None:
    checks = {"play", *(check.__name__.strip("_") for check in CHECKS)}
    for fault in FAULTS.values():
        assert {*fault.situations} <= {*SITUATIONS}
        assert {*fault.checks} <= checks
