"""The quick path of TOML: what it understands, it understands as tomllib does."""

import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobd import template
from jobd.errors import BadValue
from jobd.toml import parse_toml, plain

JOBS = '[job.a]\ninterval = "1h"\n\n[job.b-2]  # the second\nretry_times = 3\nrunonce = true\n[job.b-2.args]\nn = 1'
_PIECES = ["a", "b", "a.b", "[", "]", "[a]", "[a.b]", "[b.a]", "[[a]]", "=", " = ", "\n", "\t", " ", '"', '"x"', '"#"',
           '""', '"""', "'x'", "\\", '"\\n"', "#", "# x", "true", "false", "0", "7", "007", "-1", "+1", "1_0", "1.5",
           "0x1", "inf", "1979-05-27", "[1]", "{}", "é", '"é"', "٣", "\r\n", "\r", "\0", "\x7f", "\u2028", "\xa0", ",",
           ".", "-", "_", "9" * 30]  # fmt: skip
_KEYS = st.sampled_from(["a", "b", "c-d", "a.b", '"q"', "", "é"])
_FORMS = st.sampled_from(
    ["[{}]", "[ {} ]", "[job.{}]  # more", "[job.{}] x", '{} = "text" # more', "{}=1", "{} = 01", "{} = true",
     "\t{} = false\t", '{} = "a" "b"', '{} = ["x"]', "{}", "{} = ", "# {}", "[job.{}.args]"]
)  # fmt: skip
_LINES = st.builds(str.format, _FORMS, _KEYS)


@given(st.one_of(st.lists(st.sampled_from(_PIECES)).map("".join), st.lists(_LINES).map("\n".join), st.text()))
@example(JOBS)
@example("[a.b]\n[a]\nx = 1")
@example("[a]\nb = 1\n[a.b.c]")
@example("[a]\n[a]")
@example("a = 1\n[a]")
@example('a = "x\ty"')
def test_the_quick_path_never_differs_from_tomllib(text: str) -> None:
    found = plain(text)
    if found is not None:
        wanted = tomllib.loads(text)
        assert found == wanted
        assert repr(found) == repr(wanted)  # true is not 1, and the order is that of the file


@pytest.mark.parametrize("text", [template.CONFIG, JOBS, "", "# nothing"])
def test_plain_files_take_the_quick_path(text: str) -> None:
    assert plain(text) == tomllib.loads(text) == parse_toml(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a = 1\nb = 2\na = 3\n", "line 3: a is given twice"),
        ("[x]\na = 1\n# more\na = 'y'  # here\n", "line 4: a is given twice"),
        ("[x]\n[y]\n[x]\n", r"line 3: \[x\] is given twice"),
        ("x = {a = 1}\n[x.b]\n", r"line 2: \[x.b\] is given twice"),
        ("a.b = 1\na = 2\n", "line 2: a is given twice"),
    ],
)
def test_a_key_that_is_given_twice_is_named(text: str, key: str) -> None:
    with pytest.raises(BadValue, match=key):
        parse_toml(text)


def test_all_else_is_read_by_tomllib() -> None:
    assert parse_toml("a = ['x',\n 1.5]\n[b.'c d']\n") == {"a": ["x", 1.5], "b": {"c d": {}}}
    with pytest.raises(BadValue, match="line 2"):
        parse_toml("a = 1\nb = ?\n")
