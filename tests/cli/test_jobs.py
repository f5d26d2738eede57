"""`add`, `set` and their relatives, as typed."""

from tests.cli.conftest import Cli


def test_retries_that_are_not_given_are_those_of_the_configuration(jobd: Cli) -> None:
    with (jobd.folder / "jobd.toml").open("a") as config:
        config.write("[defaults]\nretry_times = 2\n")
    (jobd.folder / "jobs.toml").write_text('[job.filed]\ntask = "hello"\ninterval = "1d"\n')
    jobd.fine("add", "hello", "--every", "1d")
    jobd.fine("add", "report", "--every", "1d", "--retry", "0")
    jobd.fine("apply", "jobs.toml", "--yes")
    stored = {job["name"]: job["retry_times"] for job in jobd.fine("list", "--json").json}
    assert stored == {"hello": 2, "report": 0, "filed": 2}
    (jobd.folder / "all.toml").write_text(jobd.fine("export").out)
    assert "nothing to do" in jobd.fine("apply", "all.toml", "--prune").out
