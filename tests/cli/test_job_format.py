"""The file of `apply` and `export`: pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobd.cli.job_format import dump, load
from jobd.clock import HOUR, SECOND
from jobd.errors import BadValue
from jobd.job import Job, Options

JOBS = [
    Job("plain", "10s"),
    Job("once", None, True, 3),
    Job("dots.and 'quotes' \"日本\"", "0 3 * * *", options=Options(timezone="Europe/Berlin", paused=True)),
    Job("program", "@daily", options=Options(command=("echo", "a b", "$(id)"), priority=-5, pool="gpu")),
    Job(
        "all",
        "after 1m",
        True,
        2,
        Options(
            task="pkg:f",
            args={"a": [1, None, {"b": "c"}], "n": None, "json": {"json": "x"}, "f": 1.5},
            timeout=0,
            backoff=2 * SECOND,
            backoff_max=HOUR,
            catch_up="all",
            grace=90 * SECOND,
            on_lost="fail",
            isolation="fresh",
        ),
    ),
]


def read(text: str, stored: dict[str, Job] | None = None) -> list[Job]:
    return load(text, "jobs.toml", "UTC", stored or {})


def test_a_written_file_is_read_back_unchanged() -> None:
    assert read(dump(JOBS, "UTC")) == JOBS
    assert load(dump(JOBS, "UTC", 3), "jobs.toml", "UTC", {}, 3) == JOBS


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), _values, max_size=4))
def test_every_json_argument_survives_the_file(args: dict[str, object]) -> None:
    job = Job("j", "10s", options=Options(args=args))
    assert read(dump([job], "UTC")) == [job]


def test_a_file_holds_nothing_that_a_terminal_obeys() -> None:
    odd = "a\x80\x85\x9b2J\x9f\x7f\x1b[2J\u200b\u2028\u202e\ufeff\U000e0001b"
    jobs = [Job("one", "10s", options=Options(task=odd, args={"a": odd}, command=None))]
    written = dump(jobs, "UTC")
    assert written.replace("\n", "").isprintable()
    assert read(written) == jobs


def test_a_secret_value_is_never_written_and_is_kept_when_read() -> None:
    job = Job("j", "10s", options=Options(args={"a": 1, "key": "hunter2"}, secrets=("key",)))
    text = dump([job], "UTC")
    assert "hunter2" not in text
    assert read(text, {"j": job}) == [job]
    with pytest.raises(BadValue, match="'key' has no value"):
        read(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[job.a\n", "jobs.toml is not TOML"),
        ("[jobs.a]\n", "'jobs' is not known"),
        ("job = 3\n", "not a table"),
        ("[job]\na = 3\n", "[job.a]: it is not a table"),
        ('[job.a]\nintervall = "10s"\n', "did you mean 'interval'?"),
        ('[job.a]\ninterval = "often"\n', "[job.a]"),
        ("[job.a]\n", "neither `interval` nor `runonce`"),
        ("[job.a]\ninterval = 10\n", "interval is 10"),
        ('[job.a]\ninterval = "10s"\nretry_times = -1\n', "retry_times is -1"),
        ('[job.a]\ninterval = "10s"\nretry_times = 9223372036854775808\n', "retry_times is 9223372036854775808"),
        ('[job.a]\ninterval = "10s"\ntimeout = "soon"\n', "timeout"),
        ('[job.a]\ninterval = "10s"\npaused = 1\n', "paused is 1"),
        ('[job.a]\ninterval = "10s"\npriority = true\n', "priority is True"),
        ('[job.a]\ninterval = "10s"\ncommand = "ls"\n', "command is 'ls'"),
        ('[job.a]\ninterval = "10s"\ncatch_up = "maybe"\n', "catch_up is 'maybe'"),
        ('[job.a]\ninterval = "10s"\nargs.when = 2026-01-01\n', "JSON"),
        ('[job."a\\nb"]\ninterval = "10s"\n', "U+000A"),
        ('[job.a]\ninterval = "10s"\ntimezone = "Mars/Phobos"\n', "Mars/Phobos"),
    ],
)
def test_an_error_names_its_table_and_key(text: str, words: str) -> None:
    with pytest.raises(BadValue) as caught:
        read(text)
    assert words in str(caught.value) + caught.value.hint
    assert str(caught.value).startswith("jobs.toml")


def test_all_errors_are_reported_at_once_with_their_lines() -> None:
    text = '[job.a]\ninterval = "x"\n\n[job.b]\ninterval = "10s"\n\n[job.c]\ninterval = "y"\n'
    with pytest.raises(BadValue) as caught:
        read(text)
    lines = str(caught.value).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["jobs.toml:1:", "jobs.toml:7:"]
