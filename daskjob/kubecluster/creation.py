"""The creation of a DaskCluster, which can be undone: also if no answer came."""

from __future__ import annotations

import secrets

from distributed.security import Security

from daskjob.core.errors import Conflict, NotFound
from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.kubecluster.arguments import Arguments
from daskjob.kubecluster.errors import ClusterExists, OperatorNotInstalled
from daskjob.kubecluster.lease import first_annotations
from daskjob.kubecluster.manifest import cluster_manifest
from daskjob.kubecluster.transport_security import (
    certificates,
    is_secure,
    secret_manifest,
    secret_name,
    secured,
)
from daskjob.submit.client.errors import NotInstalled
from daskjob.submit.client.owned import create_owned
from daskjob.submit.clusters.client import AsyncClusterClient
from daskjob.submit.clusters.cluster import ANNOTATION_CREATION, Cluster


class Creation:
    """Creates one DaskCluster; an annotation distinguishes it from another one of the same name."""

    def __init__(self, arguments: Arguments) -> None:
        self._arguments = arguments
        self._token = secrets.token_hex(8)
        #: Whether the cluster may have been created here.
        self.is_possible = False
        #: Whether scheduler and workers have certificates of this cluster's own Secret.
        self.makes_secret = False

    async def create(
        self, clients: AsyncClusterClient, security: Security | None, lease_seconds: int
    ) -> Cluster:
        """Create the cluster, with a Secret of its certificates.

        Raises
        ------
        ClusterExists
            There is one of this name.
        OperatorNotInstalled
            There are no clusters in this Kubernetes.
        """
        noted = {ANNOTATION_CREATION: self._token, **first_annotations(lease_seconds)}
        self.is_possible = True
        try:
            cluster = await clients.create(self._manifest(security, noted))
        except Conflict as error:
            self.is_possible = False
            raise ClusterExists(str(error)) from None
        except NotInstalled:
            self.is_possible = False
            raise OperatorNotInstalled() from None
        if self.makes_secret and security is not None:
            secret = secret_manifest(self._arguments.name, security)
            await create_owned(await clients.api(), secret, cluster.ref)
        return cluster

    def _manifest(self, security: Security | None, annotations: dict[str, str]) -> Manifest:
        made = cluster_manifest(self._arguments, annotations)
        if security is None or is_secure(made):
            self.makes_secret = False
            return made
        self.makes_secret = True
        certificates(security)
        return secured(made, secret_name(self._arguments.name))

    async def delete(self, clients: AsyncClusterClient) -> None:
        """Delete the cluster of this name if it was created here."""
        if not self.is_possible:
            return
        try:
            found = await clients.get(self._arguments.name)
        except NotFound:
            return
        noted = mapping(metadata(found.manifest).get("annotations"))
        if noted.get(ANNOTATION_CREATION) == self._token:
            await clients.delete(found, force=True)
