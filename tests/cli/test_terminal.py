"""Tables on a terminal: pure."""

from jobd.cli.terminal import Cell, table, width_of


def test_a_table_fits_the_terminal_and_has_no_blanks_at_line_ends() -> None:
    rows = [[Cell("x" * 50), Cell("y" * 50)], [Cell("short"), Cell("")]]
    lines = table(("NAME", "ERROR"), rows, 40, colour=False)
    assert all(width_of(line) <= 40 for line in lines)
    assert all(line == line.rstrip() for line in lines)
    assert "…" in lines[1]


def test_nothing_is_cut_where_no_terminal_is() -> None:
    assert table(("N",), [[Cell("x" * 5000)]], None, colour=False)[1] == "x" * 5000


def test_wide_characters_count_twice() -> None:
    lines = table(("NAME", "B"), [[Cell("日本"), Cell("1")], [Cell("abcd"), Cell("2")]], None, colour=False)
    assert lines[1] == "日本  1"
    assert lines[2] == "abcd  2"


def test_colours_surround_the_text_and_not_the_blanks() -> None:
    lines = table(("A", "B"), [[Cell("ok", "good"), Cell("1")]], None, colour=True)
    assert lines[1] == "\x1b[32mok\x1b[0m  1"
