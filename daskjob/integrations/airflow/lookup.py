"""Looks a connection up without Airflow's own hooks of Kubernetes, whose imports take seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from daskjob.integrations.airflow.connections import Connection, connection_of

#: The connection that may be missing: its access is that of the process.
DEFAULT_CONNECTION = "kubernetes_default"


def found_connection(name: str | None, given: Mapping[str, Any]) -> Connection:
    """Return where the cluster of a connection is; ``given`` goes before the connection's fields.

    Raises
    ------
    AirflowNotFoundException
        There is no such connection.
    WrongConnection
        Its fields exclude each other, or one cannot be read.
    """
    if not name:
        return connection_of("", {}, given)
    try:
        extras = BaseHook.get_connection(name).extra_dejson
    except AirflowNotFoundException:
        if name != DEFAULT_CONNECTION:
            raise
        extras = {}
    return connection_of(name, extras, given)


async def found_connection_async(name: str | None, given: Mapping[str, Any]) -> Connection:
    """Do what ``found_connection`` does, in the event loop of the triggerer."""
    if not name:
        return connection_of("", {}, given)
    try:
        extras = (await get_async_connection(name)).extra_dejson
    except AirflowNotFoundException:
        if name != DEFAULT_CONNECTION:
            raise
        extras = {}
    return connection_of(name, extras, given)
