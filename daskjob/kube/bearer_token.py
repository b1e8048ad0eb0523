"""What a bearer token shows about itself, if it is a JSON Web Token."""

from __future__ import annotations

import base64
import json


def expiry(header: str) -> float | None:
    """Return when the token of an ``Authorization`` header expires, in seconds since the epoch.

    ``None``: it does not show that.
    """
    parts = header.removeprefix("Bearer ").split(".")
    if len(parts) != 3:
        return None
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        found = json.loads(base64.urlsafe_b64decode(padded))
        ended = float(found["exp"])
    except (ValueError, LookupError, TypeError, RecursionError, OverflowError):
        return None
    # Later years have no date.
    return ended if 0 <= ended < 253402300800 else None
