"""The text of Python files, and their trees, as Python itself reads them. Nothing is run."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings


def source_text(data: bytes) -> str | None:
    """Return the text of a Python file, in the encoding that it declares; ``None``: it is none.

    A byte order mark is no part of the text.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, ValueError):
        return None
    return None if "\0" in text else text


def readable_text(data: bytes) -> str:
    """Return the text of a Python file, as far as it is text."""
    text = source_text(data)
    return data.decode("utf-8-sig", "replace") if text is None else text


def parsed(text: str) -> ast.Module:
    """Return the tree of a program.

    Raises
    ------
    SyntaxError, ValueError, RecursionError
        It is none.
    """
    with warnings.catch_warnings():
        # Of the user's code, which warns when it runs.
        warnings.simplefilter("ignore")
        return ast.parse(text)
