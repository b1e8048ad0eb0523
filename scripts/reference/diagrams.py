"""Diagrams as part of a page: an SVG inside it follows the page's light or dark colours.

An SVG that a page loads as an image follows only those of the system. The files stay images for
other readers of the Markdown.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

FOLDER = "diagrams"


def inlined(app: Any, tree: Any, page: str) -> None:
    """Replace the images of diagrams by the diagrams."""
    del page
    from docutils import nodes  # type: ignore[import-untyped]

    if app.builder.format != "html":
        return
    for image in list(tree.findall(nodes.image)):
        path = Path(app.srcdir, image["uri"])
        if path.parent.name == FOLDER and path.suffix == ".svg":
            image.replace_self(nodes.raw("", figure(path, image.get("alt", "")), format="html"))


def figure(path: Path, text: str) -> str:
    """Return the HTML of a diagram, with its text for readers who cannot see it."""
    svg = path.read_text(encoding="utf-8")
    svg = svg.replace("<svg ", f'<svg class="diagram" role="img" aria-label="{escape(text)}" ', 1)
    return f'<div class="diagram-frame">{svg}</div>'
