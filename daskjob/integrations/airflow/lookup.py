"""Looks a connection up without Airflow's own hooks of Kubernetes, whose imports take seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import amask_secret, mask_secret

from daskjob.integrations.airflow.connections import (
    Connection,
    WrongConnection,
    connection_of,
    secrets_of,
)

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
    extras: dict[str, Any] | None
    try:
        extras = _extras(name, BaseHook.get_connection(name))
    except AirflowNotFoundException:
        if name != DEFAULT_CONNECTION:
            raise
        extras = None
    found = connection_of(name, extras or {}, given)
    if extras is None:
        found = replace(found, exists=False)
    mask_secret(secrets_of(found))
    return found


async def found_connection_async(name: str | None, given: Mapping[str, Any]) -> Connection:
    """Do what ``found_connection`` does, in the event loop of the triggerer."""
    if not name:
        return connection_of("", {}, given)
    extras: dict[str, Any] | None
    try:
        extras = _extras(name, await get_async_connection(name))
    except AirflowNotFoundException:
        if name != DEFAULT_CONNECTION:
            raise
        extras = None
    found = connection_of(name, extras or {}, given)
    if extras is None:
        found = replace(found, exists=False)
    await amask_secret(secrets_of(found))
    return found


def _extras(name: str, connection: Any) -> dict[str, Any]:
    """Return a connection's extra fields.

    Airflow's ``extra_dejson`` returns none for what is no JSON: the job would run elsewhere, with
    the access of the process.
    """
    text = connection.extra or "{}"
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        # The text may be secret.
        raise WrongConnection(f"the extra fields of connection {name} are no JSON object")
    kind = str(getattr(connection, "conn_type", None) or "")
    if not found and kind not in ("", "kubernetes", "generic"):
        # The job would run with the access of the process.
        raise WrongConnection(
            f"connection {name} is of type {kind}, and has no field of one of type kubernetes; "
            "name another one: kubernetes_conn_id"
        )
    return found
