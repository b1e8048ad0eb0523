"""How Sphinx builds docs/: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from daskjob import __version__
from scripts.reference.diagrams import inlined
from scripts.reference.pages import completed

project = "daskjob"
author = "the daskjob developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
napoleon_google_docstring = False
python_use_unqualified_type_names = True
# Signatures as the source has them: defaults are names there, not their values.
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 60

html_theme = "furo"
html_title = "daskjob"
html_static_path = ["_static"]
html_css_files = ["daskjob.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"

#: External links are checked by `make docs-links`, since another site may be down at any moment.
linkcheck_timeout = 20
linkcheck_retries = 2


def setup(app: Any) -> None:
    """Complete the pages with what is generated, and put diagrams into them."""

    def complete(_: Any, page: str, source: list[str]) -> None:
        source[0] = completed(source[0], f"{page}.md")

    app.connect("source-read", complete)
    app.connect("doctree-resolved", inlined)
