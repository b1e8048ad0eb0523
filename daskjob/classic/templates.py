"""Pod templates of users: an object, a dictionary, a file, or Dask's configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask.config
import yaml

from daskjob.classic.builders import make_pod_from_dict
from daskjob.classic.models import V1Object, manifest_of, object_of
from daskjob.classic.options import option
from daskjob.core.errors import NoSuchFile, WrongArgument
from daskjob.core.messages import cut
from daskjob.core.quantity import wrong_quantities


def pod_template(given: Any, kind: str) -> V1Object | None:
    """Return the template of workers or of the scheduler; ``None``: there is none anywhere.

    It is the argument, else ``kubernetes.<kind>-template``, else the file that
    ``kubernetes.<kind>-template-path`` names.

    Raises
    ------
    ValueError
        It is no pod.
    OSError
        Its file cannot be read.
    """
    given = given or option(f"{kind}-template", None, None)
    if not given:
        path = option(f"{kind}-template-path", None, None)
        given = str(path).format(**os.environ) if path else None
        if given is None:
            return None
    return read_template(given)


def read_template(given: Any) -> V1Object:
    """Return the template that a path, a dictionary or a pod of any client is; ``${VAR}`` expands.

    Raises
    ------
    ValueError
        It is no pod.
    """
    if isinstance(given, str | os.PathLike):
        return _checked(make_pod_from_dict(_expanded(read_yaml(Path(given)))))
    if isinstance(given, Mapping):
        return _checked(make_pod_from_dict(_expanded(given)))
    if not hasattr(given, "attribute_map"):
        raise WrongArgument(
            "a pod template is a V1Pod, a dictionary or the path of a file; "
            f"found: {cut(repr(given), 200)}"
        )
    found = object_of("Pod", manifest_of(given))
    if not (found.spec and found.spec.containers):
        raise WrongArgument("a pod template needs spec.containers with a container")
    return _checked(found)


def _checked(template: V1Object) -> V1Object:
    """Return a template whose amounts are quantities: the API server does not name a wrong one."""
    wrong = wrong_quantities(manifest_of(template)["spec"], "spec")
    if wrong:
        raise WrongArgument(
            f"pod template: {'; '.join(wrong)}, which is no quantity of Kubernetes; write '500m' "
            "for half a CPU, '4Gi' for memory"
        )
    return template


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Return the object in a YAML file.

    Raises
    ------
    ValueError
        The file has something else; the message names it.
    """
    try:
        found = yaml.safe_load(path.expanduser().read_text())
    except FileNotFoundError:
        raise NoSuchFile(f"pod template: there is no file {path.absolute()}") from None
    except OSError as error:
        raise WrongArgument(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WrongArgument(f"{path} is not valid YAML: {error}") from error
    if not isinstance(found, dict):
        raise WrongArgument(
            f"{path} has no pod template: it must be a mapping with spec.containers"
        )
    return found


def _expanded(given: Mapping[str, Any]) -> Any:
    return dask.config.expand_environment_variables(manifest_of(given))
