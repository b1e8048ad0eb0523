"""What settings say about packages."""

from __future__ import annotations

from daskjob.submit.environment.wanted import Given, Indexes
from daskjob.submit.settings.table import Settings


def given_by(settings: Settings) -> Given:
    """Return what the settings of a job say about its packages."""
    indexes = Indexes(
        settings.index_url or "",
        settings.extra_index_url,
        settings.find_links or "",
        settings.index_secret or "",
    )
    return Given(settings.packages, settings.requirements or "", indexes)
