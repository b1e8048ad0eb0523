"""Names of clusters: from a template, always valid, or rejected with the rule."""

from __future__ import annotations

import getpass
import os
import re
import string
import uuid
from collections.abc import Mapping

from daskjob.core.names import NAME_RULE, is_valid_name
from daskjob.kubecluster.errors import ValidationError

#: A name has room for one long value and the rest of its template.
LONGEST_VALUE = 40
UUID_LENGTH = 10


def cluster_name(template: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the name that a template makes: ``dask-{user}-{uuid}``.

    ``user`` is the login name and ``uuid`` is new each time; every other placeholder is a variable
    of the environment. Their values are escaped, so that they never make a name invalid.

    Raises
    ------
    ValidationError
        The template has unknown placeholders, or the name breaks the rule of names.
    """
    if not isinstance(template, str):
        raise ValidationError(
            f"the name of a cluster is a string, not {template!r}{_hint(template)}"
        )
    name = _filled(template, environment)
    if not is_valid_name(name):
        raise ValidationError(
            f"{name!r} cannot be the name of a cluster: {NAME_RULE}{_hint(template)}"
        )
    return name


def _filled(template: str, environment: Mapping[str, str]) -> str:
    try:
        wanted = {
            field for _, field, _, _ in string.Formatter().parse(template) if field is not None
        }
    except ValueError as error:
        raise ValidationError(f"the name {template!r} is no template: {error}") from error
    unknown = sorted(wanted - {"user", "uuid"} - set(environment))
    if unknown:
        raise ValidationError(
            f"the name {template!r} has the placeholder {{{unknown[0]}}}, which is neither user "
            "nor uuid nor a variable of the environment"
        )
    for field in wanted:
        template = template.replace(f"{{{field}}}", _value(field, environment))
    return template


def _value(field: str, environment: Mapping[str, str]) -> str:
    if field == "uuid":
        return uuid.uuid4().hex[:UUID_LENGTH]
    return escaped(_user() if field == "user" else environment[field])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        # A container's arbitrary user id has no name.
        return "user"


def escaped(text: str) -> str:
    """Return a text as a part of a name: lower-case letters, digits and single dashes."""
    plain = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
    return plain[:LONGEST_VALUE].rstrip("-") or "x"


def _hint(given: object) -> str:
    if isinstance(given, dict) or str(given).endswith((".yml", ".yaml")):
        return "; for a pod template, use KubeCluster.from_yaml or daskjob.classic.KubeCluster"
    return ""
