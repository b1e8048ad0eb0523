"""Names that belong to objects of others."""

from __future__ import annotations

import re

from daskjob.core.reasons import Reason
from daskjob.core.why.about import About, Advice

_TAKEN = re.compile(r"(?P<kind>\w+) [^\s/]+/(?P<name>\S+) is (still )?taken")


def name_taken(about: About) -> Advice | None:
    """Return the advice about an object that has a name that the job needs."""
    if about.reason != Reason.NAME_CONFLICT:
        return None
    found = _TAKEN.search(about.message)
    if found is None:
        return None
    step = f"Submit the job under another name, or delete that {found['kind']} if it is not needed:"
    return Advice(step, about.kubectl(f"describe {found['kind'].lower()} {found['name']}"))
