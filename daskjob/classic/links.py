"""Links to the dashboard."""

from __future__ import annotations

import os

from daskjob.classic.first_generation import dashboard_link_template


def dashboard_link(host: str, port: int) -> str:
    """Return the link from the template of Dask's configuration, or of the first generation.

    Host, port, scheme and all environment variables expand; of a variable that does not exist, the
    placeholder stays.
    """
    shown = f"[{host}]" if ":" in host else host
    known = {**os.environ, "host": shown, "port": port, "scheme": "http"}
    return dashboard_link_template().format_map(_Kept(known))


class _Kept(dict[str, object]):
    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"
