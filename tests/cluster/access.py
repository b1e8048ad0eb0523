"""Access to the API server as administrator, without a process for every request.

kubectl uses 0.1 s of CPU before its first request, and fixtures make about a thousand in a run. One
``kubectl proxy`` connects to the cluster, whatever its kubeconfig; requests go to it through a
socket that other users cannot open.
"""

from __future__ import annotations

import json
import math
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

Manifest = dict[str, Any]

#: Time limit until kubectl listens.
START_SECONDS = 20.0
#: Time limit of a response; a watch is silent while nothing happens.
ANSWER_SECONDS = 60.0
#: Returns all resources of all groups in one response.
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class RequestRejected(Exception):
    """The API server rejected a request; with its response."""

    def __init__(self, asked: str, code: int, said: str) -> None:
        super().__init__(f"{asked}: {code} {said}")
        self.code = code


def _listens(path: Path) -> bool:
    """Return whether a server listens there; it makes the file a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


class Access:
    """Requests to the API server; close it when it is not needed any more."""

    def __init__(self, kubectl: list[str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="daskjob-access-"))
        path, log = self._folder / "api.sock", self._folder / "proxy.log"
        transport = httpx.HTTPTransport(uds=str(path))
        self._client = httpx.Client(
            transport=transport, base_url="http://localhost", timeout=ANSWER_SECONDS
        )
        with log.open("wb") as said:
            command = [*kubectl, "proxy", f"--unix-socket={path}"]
            self._proxy = subprocess.Popen(command, stdout=said, stderr=said)
        give_up = time.monotonic() + START_SECONDS
        while not _listens(path):
            if self._proxy.poll() is not None or time.monotonic() > give_up:
                why = log.read_text()
                self.close()
                raise RuntimeError(f"{' '.join(command)} does not listen: {why}")
            time.sleep(0.02)
        self._paths: dict[str, str] = {}

    def close(self) -> None:
        """Stop the proxy."""
        self._client.close()
        self._proxy.kill()
        self._proxy.wait()
        shutil.rmtree(self._folder)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Manifest | None = None,
        query: Mapping[str, str] | None = None,
    ) -> str:
        """Make a request and return the response.

        Raises
        ------
        Refused
            The response is an error.
        """
        answer = self._client.request(method, path, json=body, params=query or None)
        if answer.is_error:
            raise RequestRejected(f"{method} {path}", answer.status_code, answer.text)
        return answer.text

    def get(self, path: str, **query: str) -> Manifest:
        """Return an object or a list."""
        return dict(json.loads(self.request("GET", path, query=query)))

    def find(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return an object; ``None``: it does not exist."""
        try:
            return self.get(f"{self.path(kind, namespace)}/{name}")
        except RequestRejected as error:
            if error.code != 404:
                raise
            return None

    def items(self, kind: str, namespace: str, **query: str) -> list[Manifest]:
        """Return the objects of a collection, each with its kind and version."""
        found = self.get(self.path(kind, namespace), **query)
        kinds = {"apiVersion": found["apiVersion"], "kind": found["kind"].removesuffix("List")}
        return [{**kinds, **item} for item in found["items"]]

    def log(self, namespace: str, pod: str) -> str:
        """Return the log of a pod's only container."""
        return self.request("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log")

    def path(self, kind: str, namespace: str) -> str:
        """Return the path of a collection; the kind may be any name that kubectl accepts.

        Raises
        ------
        LookupError
            The kind does not exist.
        """
        known = kind.lower()
        if known not in self._paths:
            self._paths = self._discovered()
        if known not in self._paths:
            raise LookupError(f"the API server has no {kind}")
        return self._paths[known].format(namespace=namespace)

    def watched(self, kind: str, namespace: str, name: str, seconds: float) -> Iterator[Manifest]:
        """Yield an object's current state, and each change, until the time is over.

        When it is deleted, its last state is yielded again.
        """
        path, give_up = self.path(kind, namespace), time.monotonic() + seconds
        while (left := give_up - time.monotonic()) > 0:
            query = {
                "watch": "true",
                "fieldSelector": f"metadata.name={name}",
                "timeoutSeconds": str(math.ceil(left)),
            }
            try:
                yield from self._one_watch(path, query, left)
            except (httpx.TransportError, RequestRejected) as error:
                if isinstance(error, RequestRejected) and error.code < 500:
                    raise
                # The API server is briefly unavailable: retry.
            time.sleep(0.1)

    def _one_watch(self, path: str, query: dict[str, str], seconds: float) -> Iterator[Manifest]:
        with self._client.stream("GET", path, params=query, timeout=seconds + 5) as answer:
            if answer.is_error:
                raise RequestRejected(f"watch {path}", answer.status_code, answer.read().decode())
            for line in answer.iter_lines():
                change = json.loads(line)
                if change["type"] == "ERROR":
                    return
                yield change["object"]

    def _discovered(self) -> dict[str, str]:
        """Return the paths of collections by all names of their kinds; the first one wins."""
        found: dict[str, str] = {}
        for root in ("/api", "/apis"):
            answer = self._client.get(root, headers={"Accept": DISCOVERY})
            for group in answer.raise_for_status().json()["items"]:
                about = group.get("metadata", {}).get("name", "")
                version = group["versions"][0]
                prefix = "/".join(filter(None, (root, about, version["version"])))
                for resource in version["resources"]:
                    where = "/namespaces/{namespace}" if resource["scope"] == "Namespaced" else ""
                    names = [resource["resource"], *resource.get("shortNames", ())]
                    names += [
                        resource["singularResource"],
                        resource["responseKind"]["kind"].lower(),
                    ]
                    for known in names:
                        found.setdefault(known, f"{prefix}{where}/{resource['resource']}")
        return found
