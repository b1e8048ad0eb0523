"""What was probably meant by a mistake in a manifest: templates, indentation, variables."""

from __future__ import annotations

import re
from dataclasses import replace

from daskjob.core.errors import FieldError
from daskjob.core.spec.kubernetes_objects import Unknown

#: What Helm, Jinja and a shell fill in; Kubernetes' own $(NAME) is none.
_TEMPLATE = re.compile(r"\{\{|\{%|\$\{\w+\}")
_FILL_IN = "fill in the template first, such as by helm template or envsubst"
_VARIABLE = re.compile(r"\.env\[\d+\](?:\.(?P<name>\w+))?$")
#: Fields that are often one level too far left.
_NESTED = ("spec", "containers", "worker", "scheduler", "template", "replicas")


def hinted(mistake: FieldError) -> FieldError:
    """Return a mistake with what was probably meant, where that is known."""
    meant = _meant(mistake)
    return replace(mistake, allowed=meant) if meant else mistake


def _meant(mistake: FieldError) -> str:
    value, path = mistake.value, mistake.path
    if isinstance(value, str) and _TEMPLATE.search(value):
        return f"{_FILL_IN}; {mistake.allowed}"
    if path.endswith(".env") and isinstance(value, dict):
        items = ", ".join(f"{{name: {name}, value: ...}}" for name in list(value)[:2])
        return f"write a list: [{items}]"
    variable = _VARIABLE.search(path)
    if variable and isinstance(value, str) and "=" in value and not variable["name"]:
        return f"write {{name: {value.partition('=')[0]}, value: ...}}"
    if variable and isinstance(mistake, Unknown) and "did you mean" not in mistake.allowed:
        return f"write {{name: {variable['name']}, value: ...}}"
    name = path.rpartition(".")[2]
    if name in _NESTED and isinstance(value, dict | list) and "did you mean" not in mistake.allowed:
        is_unknown = mistake.allowed.startswith(("known fields", "fields of", "it is a field of"))
        return f"is it indented far enough? {mistake.allowed}" if is_unknown else ""
    return ""


def yaml_hint(text: str, line: int | None) -> str:
    """Return why a text is probably no YAML, for the line where its error is; may be empty."""
    lines = text.splitlines()
    around = "\n".join(lines[max((line or 0) - 1, 0) : (line or 0) + 1]) if line is not None else ""
    if _TEMPLATE.search(around) or re.search(r"^\s*\{\{", text, re.MULTILINE):
        return f"\nThe file is a template: {_FILL_IN}."
    if re.search(r"^ *\t", around, re.MULTILINE):
        return "\nYAML is indented with spaces; replace the tabs."
    return ""
