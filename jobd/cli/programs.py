"""A remark on a program that will not do what its words look like: it is run without a shell."""

from jobd.cli import print_remark
from jobd.cli.context import ANSWER_TIMEOUT, Context
from jobd.job import Job

OPERATORS = frozenset(("&&", "||", "|", "|&", ">", ">>", ">|", "<", "<<", "<<<", "&>", "&>>", "2>", "2>>", "2>&1"))
_NO_PROGRAMS = frozenset(
    ("cd", "export", "source", ".", "set", "umask", "ulimit", "alias", "exec", "eval", "if", "for")
)


def warn_of_program(context: Context, job: Job) -> None:
    """Say so when the job's program is not there, or its words are meant for a shell."""
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
    """Where: as the daemon sees it or, without one, as this shell does. Empty: it is there."""
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
    """The words as a shell should read them: a single one is a line already."""
    if len(command) == 1:
        return command[0]
    from shlex import quote

    return " ".join(word if word in OPERATORS else quote(word) for word in command)
