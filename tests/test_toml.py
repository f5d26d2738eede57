"""An error in a TOML file is reported with its line."""

import pytest

from jobd.errors import BadValue
from jobd.toml import parse_toml


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


def test_the_line_of_other_mistakes_is_named() -> None:
    with pytest.raises(BadValue, match="line 2"):
        parse_toml("a = 1\nb = ?\n")
