"""Where packages are looked up: settings for pods and for here, and the user's own configuration.

uv knows nothing of pip's configuration, which most users have; so uv gets it in variables.
Logins stay in variables of uv's process: they are in no manifest, no message and no command line.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daskjob.submit.environment.wanted import Indexes, UnfitEnvironment
from daskjob.submit.settings.urls import has_login, hidden, plain

_UV_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")
_SECTIONS = ("global", "install")


@dataclass(frozen=True, slots=True)
class Lookup:
    """How uv is asked."""

    #: Its variables, which may have logins.
    variables: Mapping[str, str]
    options: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    #: Whether pods may get other files than those that are found here.
    is_elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class _Pip:
    """What pip's configuration says."""

    index_url: str = ""
    extra: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    cert: str = ""
    trusted_hosts: tuple[str, ...] = field(default=())


def urls_for_pods(indexes: Indexes, environ: Mapping[str, str], subject: str) -> tuple[str, ...]:
    """Return ``indexURLs``: the index first, which additional ones need before them.

    Raises
    ------
    UnfitEnvironment
        There are additional ones, and neither settings nor this machine's configuration name the
        first one.
    """
    extra = indexes.extra_index_urls
    if not extra:
        return (indexes.index_url,) if indexes.index_url else ()
    first = first_index(indexes, environ)
    if not first:
        raise UnfitEnvironment(
            f"{subject} names {', '.join(extra)} as an additional index, and pods need to know the "
            'one before it too: --index-url URL, or [tool.daskjob]: index-url = "URL"'
        )
    return tuple(dict.fromkeys((first, *extra)))


def first_index(indexes: Indexes, environ: Mapping[str, str]) -> str:
    """Return the index that settings name, else this machine's configuration; empty without one."""
    return indexes.index_url or plain(_configured(_pip(environ), environ))


def _configured(pip: _Pip, environ: Mapping[str, str]) -> str:
    """Return the index that this machine's configuration names; empty without one."""
    named = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or ""
    return named[named.find("=http") + 1 :] if "=http" in named else named or pip.index_url


def lookup(indexes: Indexes, environ: Mapping[str, str]) -> Lookup:
    """Return how uv is asked here for what pods will find in some indexes."""
    pip, is_uv_set = _pip(environ), _has_uv_indexes(environ)
    found = dict(environ)
    known = [pip.index_url, *pip.extra, *uv_urls(environ)]
    configured = Indexes() if is_uv_set else Indexes(pip.index_url, pip.extra)
    first = _with_login(indexes.index_url, known) or configured.index_url
    if first:
        found["UV_DEFAULT_INDEX"] = first
        found.pop("UV_INDEX_URL", None)
    extra = [_with_login(url, known) for url in indexes.extra_index_urls]
    extra += [] if indexes.index_url else configured.extra_index_urls
    extra += filter(None, [environ.get("UV_INDEX", "")])
    if extra:
        found["UV_INDEX"] = " ".join(extra)
    if pip.cert and "SSL_CERT_FILE" not in environ:
        found["SSL_CERT_FILE"] = pip.cert
    if pip.trusted_hosts:
        found.setdefault("UV_INSECURE_HOST", " ".join(pip.trusted_hosts))
    notes = _notes(indexes, configured, environ)
    return _with_links(Lookup(found, notes=tuple(notes)), indexes, pip, environ)


def _with_links(found: Lookup, indexes: Indexes, pip: _Pip, environ: Mapping[str, str]) -> Lookup:
    variables, links = dict(found.variables), list(pip.find_links)
    options: list[str] = []
    notes = list(found.notes)
    is_folder = indexes.find_links.startswith("/")
    is_here = not is_folder or Path(indexes.find_links).is_dir()
    if indexes.find_links and is_here:
        links = [indexes.find_links, *links]
        options = [] if indexes.index_url or indexes.extra_index_urls else ["--no-index"]
    elif indexes.find_links:
        notes.append(
            f"{indexes.find_links} is not on this machine: versions are chosen from the index that "
            "this machine asks, and the pods need wheels of these versions"
        )
    if links:
        own = environ.get("UV_FIND_LINKS", "")
        variables["UV_FIND_LINKS"] = ",".join(filter(None, [*links, own]))
    return Lookup(variables, tuple(options), tuple(notes), bool(indexes.find_links and not is_here))


def _notes(indexes: Indexes, configured: Indexes, environ: Mapping[str, str]) -> Iterator[str]:
    if indexes.index_url or indexes.find_links:
        return
    own = configured.index_url or environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    if own:
        yield (
            f"versions are chosen from {hidden(own)}, which this machine's configuration names; "
            "pods ask the index of their image. For the same one there: --index-url URL"
        )


def _with_login(url: str, known: list[str]) -> str:
    """Return a URL with the login that the user's configuration has for the same one."""
    same = (item for item in known if has_login(item) and plain(item) == plain(url))
    return next(same, url) if url else ""


def uv_urls(environ: Mapping[str, str]) -> list[str]:
    """Return the indexes that variables of uv name, which may have logins."""
    words = " ".join(environ.get(name, "") for name in _UV_INDEXES).split()
    # ``name=URL`` names an index.
    return [word[word.find("=http") + 1 :] if "=http" in word else word for word in words]


def _has_uv_indexes(environ: Mapping[str, str]) -> bool:
    if any(environ.get(name) for name in _UV_INDEXES):
        return True
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")
    named = environ.get("UV_CONFIG_FILE") or os.path.join(home, "uv", "uv.toml")
    return any("index" in _text(Path(path)) for path in (named, "/etc/uv/uv.toml"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _pip(environ: Mapping[str, str]) -> _Pip:
    values: dict[str, str] = {}
    for path in _pip_files(environ):
        values |= _pip_file(path)
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            values[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return _Pip(
        values.get("index-url", ""),
        tuple(values.get("extra-index-url", "").split()),
        tuple(values.get("find-links", "").split()),
        values.get("cert", ""),
        tuple(values.get("trusted-host", "").split()),
    )


def _pip_files(environ: Mapping[str, str]) -> list[Path]:
    """Return pip's files, the most important one last, as its documentation lists them."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path(environ.get("HOME") or "/")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    places = [
        *(Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf")),
        *(home / ".pip" / "pip.conf", config / "pip" / "pip.conf"),
        *(Path(environ[name]) / "pip.conf" for name in ("VIRTUAL_ENV",) if environ.get(name)),
    ]
    return [*places, *([Path(named)] if named else [])]


def _pip_file(path: Path) -> Mapping[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(_text(path))
    except configparser.Error:
        return {}
    found: dict[str, str] = {}
    for section in _SECTIONS:
        if parser.has_section(section):
            found |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    return found
