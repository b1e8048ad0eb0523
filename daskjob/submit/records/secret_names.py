"""Which names are those of secret values: of variables, options, files and members. No I/O."""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"passw|passphrase|secret|credential|(api|access|private|account|auth|encryption)[-_]?key"
    r"|(^|[-_.])(token|pass|pwd|pat|auth)([-_.]|$)|token$|(^|/)\.env([-_.]|$)|_rsa$|\.pem$",
    re.IGNORECASE,
)
#: Names of what is not itself secret: a path, the name of a Secret, the working directory.
_HARMLESS = re.compile(r"^(OLD)?PWD$|[-_]?(file|path|dir|name)$", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Return whether the value of a variable, an option or a file of this name is secret."""
    return bool(_SECRET.search(name)) and not _HARMLESS.search(name)
