"""Text without control characters, so that it cannot move a terminal's cursor or forge a line."""


def escape(text: str) -> str:
    """`text` on one line, with every character that is not printable as an escape sequence."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else escape_code(char) for char in text)


def escape_lines(text: str) -> str:
    """Like `escape`, for the output of a task: line ends and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else escape_code(char) for char in text)


def escape_code(char: str) -> str:
    """The escape sequence of one character, as in a Python string."""
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
