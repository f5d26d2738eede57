"""`jobd` and `python -m jobd`. `jobd list` takes a path of its own: without click it starts in a third of the time."""

import os
import sys

from jobd.cli import finish


def main() -> None:
    """Do what the command line says and exit. Nobody else may write what it makes, whatever the umask."""
    os.umask(os.umask(0o077) | 0o022)
    sys.exit(finish(lambda: run(sys.argv[1:])))


def run(argv: list[str]) -> int:
    """`jobd list` in its plain forms by the quick path, all else by click; both end in the same function."""
    plain = plain_list(argv)
    if plain is None:
        from jobd.cli.group import run as run_click

        return run_click(argv)
    from jobd.cli.context import Context
    from jobd.cli.listing import print_jobs

    config, pattern, everything, as_json = plain
    context = Context(config)
    try:
        print_jobs(context, pattern, everything, as_json)
    finally:
        context.close()
    return 0


def plain_list(argv: list[str]) -> tuple[str | None, str | None, bool, bool] | None:
    """(config, pattern, everything, as_json) of `[--config F] list|ls [PATTERN] [--all] [--json]`; None: not that."""
    config, words = None, list(argv)
    if len(words) > 1 and words[0] == "--config":
        config, words = words[1], words[2:]
    if not words or words.pop(0) not in ("list", "ls"):
        return None
    flags = [word for word in words if word in ("--json", "--all", "-a")]
    patterns = [word for word in words if word not in flags]
    if len(patterns) > 1 or any(word.startswith("-") or not word for word in patterns):
        return None
    return config, patterns[0] if patterns else None, "--all" in flags or "-a" in flags, "--json" in flags


if __name__ == "__main__":
    main()
