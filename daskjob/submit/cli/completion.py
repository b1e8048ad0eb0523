"""Commands about daskjob itself: shell completion and versions."""

from __future__ import annotations

import click

#: ``\b`` keeps the line breaks of a paragraph.
_HELP = """Print the completion script for a shell. To enable completion, add:

\b
bash:  eval "$(daskjob completion bash)"     in ~/.bashrc
zsh:   eval "$(daskjob completion zsh)"      in ~/.zshrc
fish:  daskjob completion fish | source      in ~/.config/fish/config.fish
"""

#: In zsh, completion is off until this is called; a ~/.zshrc may not have done so.
_ZSH_START = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }"


@click.command("completion", help=_HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the completion script for a shell."""
    from click.shell_completion import get_completion_class

    from daskjob.submit.cli import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    script = kind(cli, {}, "daskjob", "_DASKJOB_COMPLETE").source()
    click.echo(script.replace("    compdef _", f"    {_ZSH_START}\n    compdef _"))


@click.command("version")
def version_command() -> None:
    """Print the versions of daskjob, Dask and Python."""
    import platform
    from importlib import metadata

    from daskjob import __version__

    click.echo(f"daskjob      {__version__}")
    for package in ("dask", "distributed"):
        click.echo(f"{package:<12} {metadata.version(package)}")
    click.echo(f"python       {platform.python_version()} on {platform.platform(terse=True)}")
