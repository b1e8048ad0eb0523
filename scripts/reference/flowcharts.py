"""Mermaid flowcharts as tables of their arrows: drawing them needs a program from the network.

A forge that shows the Markdown draws them.
"""

from __future__ import annotations

import re

from scripts.reference.markdown import prose, table

_CHART = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NODE = re.compile(r'^\s*(\w+)\[\(?"([^"]+)"\)?\]$', re.MULTILINE)
_ARROW = re.compile(r'^\s*(\w+) -- "([^"]+)" --> (\w+)$', re.MULTILINE)


def tabulated(text: str) -> str:
    """Return text with a table of arrows instead of each flowchart."""
    return _CHART.sub(lambda found: _table(found[1]), text)


def _table(chart: str) -> str:
    labels = dict(_NODE.findall(chart))
    arrows = [
        (prose(what), prose(labels[start]), prose(labels[end]))
        for start, what, end in _ARROW.findall(chart)
    ]
    return table(["what", "from", "to"], arrows)
