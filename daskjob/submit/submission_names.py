"""The names of submitted jobs: equal for equal tokens, so that nothing is submitted twice."""

from __future__ import annotations

import hashlib
import re
import secrets

from daskjob.core.names import generated_prefix
from daskjob.core.spec.job import LONGEST_TOKEN

#: With the hash and the longest suffix of ours, a name stays within 63 characters.
LONGEST_PREFIX = 40
HASH_DIGITS = 12
_HASHED = re.compile(rf"(?P<prefix>.+)-[0-9a-f]{{{HASH_DIGITS}}}")


def new_token() -> str:
    """Return a token that was never used before."""
    return secrets.token_hex(16)


def submission_id(token: str) -> str:
    """Return the token as a field holds it: one that is too long as its hash."""
    return token if len(token) <= LONGEST_TOKEN else hashlib.sha256(token.encode()).hexdigest()


def submission_name(label: str, token: str) -> str:
    """Return the name of the job of a token; ``label`` is any text, such as a script's name."""
    prefix = generated_prefix(label)[:LONGEST_PREFIX].rstrip("-")
    digest = hashlib.sha256(token.encode()).hexdigest()[:HASH_DIGITS]
    return f"{prefix}-{digest}"


def label_of(name: str) -> str:
    """Return the label from which a name was made."""
    found = _HASHED.fullmatch(name)
    return found["prefix"] if found else name
