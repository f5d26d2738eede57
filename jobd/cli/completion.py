"""Shell completion of commands, options and job names, for bash, zsh and fish."""

import os

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), required=False)
def completion(shell: str | None) -> None:
    """Print a shell completion script for commands, options and job names.

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
