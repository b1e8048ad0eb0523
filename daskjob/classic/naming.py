"""The name of a cluster, and the labels of what belongs to it."""

from __future__ import annotations

import getpass
import os
import string
import uuid
from collections.abc import Mapping

from daskjob.core import names
from daskjob.core.errors import WrongArgument

_ALLOWED = frozenset(string.ascii_letters + string.digits + "-")
#: The names of pods get a suffix; all of them should be valid host names.
_LIMIT = 46


def login() -> str:
    """Return the name of the user; a container may run as one without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "user"


def escaped(text: str) -> str:
    """Return the letters, digits and ``-`` of a text, in lower case."""
    return "".join(letter for letter in text if letter in _ALLOWED).lower()


def cluster_name(template: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the name from a template with ``{user}``, ``{uuid}`` and environment variables.

    It is valid as the name of a Service, whatever the template has.

    Raises
    ------
    ValueError
        The template is malformed, or names a variable that does not exist.
    """
    known = {**environment, "user": login(), "uuid": str(uuid.uuid4())[:10]}
    try:
        found = escaped(template.format(**known)).strip("-")
    except KeyError as error:
        raise WrongArgument(
            f"name {template!r}: there is no environment variable {error.args[0]}; "
            "{user} and {uuid} always exist"
        ) from error
    except (IndexError, ValueError, AttributeError) as error:
        raise WrongArgument(f"name {template!r} is malformed: {error}") from error
    if not found or not found[0].isalpha():
        found = f"dask-{found}".rstrip("-")
    return names.shortened(found, _LIMIT)


def labels(cluster: str, component: str) -> dict[str, str]:
    """Return the labels that no template overrides."""
    user = escaped(login())[: names.NAME_LIMIT].strip("-")
    return {
        names.LABEL_CLUSTER_NAME: cluster,
        names.LABEL_COMPONENT: component,
        "user": user,
        "app": "dask",
    }
