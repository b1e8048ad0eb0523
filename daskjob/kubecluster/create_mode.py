"""What to do with a cluster that exists already, or does not exist."""

from __future__ import annotations

from enum import Enum


class CreateMode(Enum):
    """Whether a cluster is created, connected to, or whichever is possible."""

    CREATE_ONLY = "CREATE_ONLY"
    CREATE_OR_CONNECT = "CREATE_OR_CONNECT"
    CONNECT_ONLY = "CONNECT_ONLY"
