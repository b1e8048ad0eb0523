"""HTML that cannot be injected into: everything that is not ``Markup`` is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

#: Elements without an end tag.
_VOID = frozenset({"meta", "br"})


class Markup(str):
    """HTML that ``element`` has made."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Return a value as HTML; what a browser would not show as text is replaced."""
    if isinstance(value, Markup):
        return value
    shown = "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in str(value)
    )
    return Markup(escape(shown, quote=True))


def element(tag: str, /, *children: object, **attributes: object) -> Markup:
    """Return an element; an attribute that is ``None`` is left out.

    ``class_`` stands for ``class``, and ``_`` for ``-`` in names.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    written = "".join(
        f' {key}="{text(value)}"' for key, value in given.items() if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{joined(children)}</{tag}>")


def joined(children: Iterable[object]) -> Markup:
    """Return several pieces as one; ``None`` is nothing."""
    return Markup("".join(text(child) for child in children if child is not None))


def markup(constant: str) -> Markup:
    """Return a constant of this program as HTML."""
    return Markup(constant)


def encoded(document: str) -> bytes:
    """Return a document as bytes; half a character, as a file name may have, is replaced."""
    return document.encode("utf-8", errors="replace")
