"""Variables of the script and the workers: values, Secrets by reference, a file of variables."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from daskjob.core.manifests import Manifest, mappings
from daskjob.submit.cluster_job.parts import Part, Role
from daskjob.submit.script import variable, with_variables
from daskjob.submit.settings.items import VARIABLE, VARIABLE_RULE, SecretUse
from daskjob.submit.settings.sources import WrongSettings

_EXPORT = re.compile(r"export\s+")


def add_variables(
    part: Part, env: Mapping[str, str], secrets: Iterable[SecretUse], env_secret: str
) -> None:
    """Set variables of a runner or of workers, in place; a scheduler has none.

    ``env_secret`` is the Secret of the job's own file of variables; empty without one.
    """
    if part.role is Role.SCHEDULER:
        return
    added = [variable(name, value) for name, value in env.items()]
    added += [_from_secret(use) for use in secrets if use.key]
    _set(part.container, added)
    whole = [*(use.name for use in secrets if not use.key), *filter(None, [env_secret])]
    if whole:
        refs = [{"secretRef": {"name": name}} for name in whole]
        kept = [item for item in mappings(part.container.get("envFrom")) if item not in refs]
        part.container["envFrom"] = [*kept, *refs]


def _from_secret(use: SecretUse) -> Manifest:
    reference = {"secretKeyRef": {"name": use.name, "key": use.key}}
    return {"name": use.variable, "valueFrom": reference}


def _set(container: Manifest, variables: list[Manifest]) -> None:
    """Set variables of a container, in the place of older ones with the same names."""
    if variables:
        container["env"] = with_variables(mappings(container.get("env")), variables)


def set_default_variables(part: Part, variables: Mapping[str, str]) -> None:
    """Set variables that the container does not have, in place."""
    own = {item.get("name") for item in mappings(part.container.get("env"))}
    added = [variable(name, value) for name, value in variables.items() if name not in own]
    if added:
        part.container["env"] = [*added, *mappings(part.container.get("env"))]


def env_secret_name(job: str) -> str:
    """Return the name of the Secret that holds the variables of a file."""
    return f"{job}-env"


def env_secret(name: str, values: Mapping[str, str]) -> Manifest:
    """Return the Secret with the variables of a file."""
    data = {key: base64.b64encode(text.encode()).decode() for key, text in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "Opaque",
        "data": data,
    }


def read_env_file(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a file, as ``parse_env_file`` reads it.

    Raises
    ------
    WrongSettings
        It cannot be read, or a line is wrong.
    """
    try:
        text = Path(name).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise WrongSettings(f"--env-file {name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WrongSettings(f"--env-file {name} is not UTF-8 text") from error
    return parse_env_file(text, name, environ)


def parse_env_file(text: str, name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a file of ``KEY=VALUE`` lines; ``KEY`` alone takes the current value.

    Empty lines, comments, ``export`` and quotes around a value are as in a shell.

    Raises
    ------
    WrongSettings
        A line is none of these; the message has its number, and never a value.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        stripped = _EXPORT.sub("", line.strip(), count=1)
        if not stripped or stripped.startswith("#"):
            continue
        key, sign, value = stripped.partition("=")
        if not VARIABLE.fullmatch(key.strip()):
            raise WrongSettings(f"{name}, line {number}: write KEY=VALUE, with {VARIABLE_RULE}")
        if sign:
            found[key.strip()] = _unquoted(value.strip(), f"{name}, line {number}")
        elif key in environ:
            found[key] = environ[key]
        else:
            raise WrongSettings(f"{name}, line {number}: {key} is not set here; write {key}=VALUE")
    return found


def _unquoted(value: str, place: str) -> str:
    quote = value[:1]
    if quote not in ("'", '"'):
        # As a shell does: " #" starts a comment.
        return re.split(r"\s#", value, maxsplit=1)[0].rstrip()
    end = value.find(quote, 1)
    if end < 0:
        raise WrongSettings(f"{place}: the closing {quote} is missing; values have one line")
    return value[1:end]
