"""Warns of a program that does not exist, or whose words are meant for a shell: jobd runs it without one."""

from jobd.cli import print_remark
from jobd.cli.context import ANSWER_TIMEOUT, Context
from jobd.job import Job

OPERATORS = frozenset(("&&", "||", "|", "|&", ">", ">>", ">|", "<", "<<", "<<<", "&>", "&>>", "2>", "2>>", "2>&1"))
_NO_PROGRAMS = frozenset(
    ("cd", "export", "source", ".", "set", "umask", "ulimit", "alias", "exec", "eval", "if", "for")
)


def warn_of_program(context: Context, job: Job) -> None:
    """Print a warning if the job's program does not exist, or its words are meant for a shell."""
    command = job.options.command
    if not command:
        return
    word = command[0]
    operator = next((one for one in command if one in OPERATORS), None)
    if operator is not None:
        _warn(f"{operator!r} is only a word to the program {word!r}", command)
    elif where := _where_searched(context, word):
        is_meant_for_a_shell = word in _NO_PROGRAMS or word.split() != [word] or "=" in word
        _warn(f"there is no program {word!r} {where}", command if is_meant_for_a_shell else ())


def _where_searched(context: Context, word: str) -> str:
    """The place where a program was not found: for the daemon or, without one, for this shell. Empty: it exists."""
    answer = context.ask_daemon({"do": "program", "word": word}, ANSWER_TIMEOUT)
    if answer is not None:
        return "" if answer["found"] else "for the daemon"
    from jobd.daemon.plugins import has_program

    return "" if has_program(context.settings, word) else "here"


def _warn(what: str, command: tuple[str, ...]) -> None:
    from shlex import quote

    hint = f"; no shell reads this: write -- sh -c {quote(_as_typed(command))}" if command else ""
    print_remark(f"warning: {what}{hint}")


def _as_typed(command: tuple[str, ...]) -> str:
    """The words as a line for a shell; a single word is already such a line."""
    if len(command) == 1:
        return command[0]
    from shlex import quote

    return " ".join(word if word in OPERATORS else quote(word) for word in command)
