"""Replaces the real backend of an operator process by the test's stub of Kubernetes."""

from __future__ import annotations

import asyncio
import os
import sys
import types


class LeaseApi:
    """A Lease that is always free."""

    async def get(self, namespace: str, name: str) -> None:
        del namespace, name

    async def create(self, manifest: dict[str, object]) -> dict[str, object]:
        return manifest

    async def update(self, manifest: dict[str, object]) -> dict[str, object]:
        return manifest


class KubernetesBackend:
    """A Kubernetes without objects, reachable or not."""

    leases = LeaseApi()

    @classmethod
    async def connect(cls, namespaces: object, platform: object, metrics: object) -> object:
        del namespaces, platform, metrics
        if os.environ["STUB"] == "no credentials":
            from daskjob.core.errors import ApiError

            raise ApiError("there is no service account here, and no kubeconfig")
        return cls()

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def synced(self) -> None:
        if os.environ["STUB"] == "unreachable":
            await asyncio.Event().wait()

    def subscribe(self, wake: object) -> None:
        del wake

    def before_writes(self, check: object) -> None:
        del check

    def subjects(self) -> list[object]:
        return []

    def silent_seconds(self) -> float:
        return 0.0

    async def close(self) -> None:
        return None


if "STUB" in os.environ:
    module = types.ModuleType("daskjob.backends.kubernetes.backend")
    module.KubernetesBackend = KubernetesBackend  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
