"""URLs of indexes: without a login, which would be in manifests, records and messages."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

_LOGIN = re.compile(r"(?<=//)[^/@\s]*(?:@[^/@\s]*)*@")
_URL = re.compile(r"https?://[^/\s]+(/\S*)?", re.IGNORECASE)


def hidden(text: str) -> str:
    """Return a text whose URLs have no login."""
    return _LOGIN.sub("", text)


def has_login(text: str) -> bool:
    """Return whether a URL in a text has a login."""
    return bool(_LOGIN.search(text))


def index_url(text: str) -> str:
    """Return the URL of an index.

    Raises
    ------
    ValueError
        It is no URL, or has a login.
    """
    if has_login(text):
        raise ValueError(
            "it has a login, which everyone who may read the job would see: leave it out of the "
            "URL, and name the Secret that has it: --index-secret NAME; here, uv finds "
            "it in ~/.netrc"
        )
    if not _URL.fullmatch(text):
        raise ValueError("write the http or https URL of an index")
    return text


def links(text: str) -> str:
    """Return a folder of the pods with wheels, or the URL of a page with links to them.

    Raises
    ------
    ValueError
        It is neither.
    """
    if re.fullmatch(r"/[^\s@]*", text):
        return text
    if "://" in text:
        return index_url(text)
    raise ValueError(
        "write the absolute path of a folder in the pods, such as /wheels of "
        "--mount pvc:CLAIM:/wheels, or a URL"
    )


def plain(url: str) -> str:
    """Return a URL without its login and without a slash at its end, to compare it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme.lower(), host.lower(), parts.path.rstrip("/"), parts.query, ""))
