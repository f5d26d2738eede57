"""Tab: commands, options and job names, in bash, zsh and fish."""

import os

import click

from jobd.cli.context import Context
from jobd.errors import JobdError

LONGEST_LIST = 200  # names offered at one Tab


def complete_names(ctx: click.Context, incomplete: str) -> list[str]:
    """The job names that begin with `incomplete`. Whatever goes wrong, Tab stays silent."""
    context = Context(ctx.find_root().params.get("config"))
    try:
        return context.reader.names(incomplete, LONGEST_LIST)
    except (JobdError, OSError):
        return []
    finally:
        context.close()


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), required=False)
def completion(shell: str | None) -> None:
    """Print what makes Tab complete commands, options and job names.

    \b
      eval "$(jobd completion bash)"            in ~/.bashrc
      eval "$(jobd completion zsh)"             in ~/.zshrc
      jobd completion fish | source             in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from jobd.cli.group import cli

    shell = shell or os.path.basename(os.environ.get("SHELL", "bash"))
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"the shell {shell!r} is not one of bash, zsh, fish")
    click.echo(kind(cli, {}, "jobd", "_JOBD_COMPLETE").source())
