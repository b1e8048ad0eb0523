"""Opens a URL in the user's browser, if there is one."""

from __future__ import annotations

import os
import sys

import click


def open_browser(url: str) -> None:
    """Open a URL; on a machine without a browser, only say so."""
    import webbrowser

    has_screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    # A browser for terminals would take this one.
    if (sys.platform.startswith("linux") and not has_screen) or not webbrowser.open(url):
        click.echo("daskjob: no browser was found here; open the address in yours", err=True)
