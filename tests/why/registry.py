"""A registry inside the node: one image is unknown, one may not be pulled without credentials.

A native cluster's runtime uses plain HTTP for it, so a pod in the node's network is enough.
The kubelet and the runtime, with their messages, are real.
"""

from __future__ import annotations

from typing import Any

from tests.cluster.components import LOOPBACK_REGISTRY

HOST = LOOPBACK_REGISTRY
PORT = int(HOST.rpartition(":")[2])
UNKNOWN = f"{HOST}/team/unknown:1"
PRIVATE = f"{HOST}/team/private:1"

_CODE = f"""
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Registry(BaseHTTPRequestHandler):
    def do_GET(self):
        code, name, more = 404, "MANIFEST_UNKNOWN", {{}}
        if "private" in self.path or self.path.startswith("/token"):
            code, name = 401, "UNAUTHORIZED"
            realm = 'Bearer realm="http://{HOST}/token",service="registry"'
            more = {{}} if self.path.startswith("/token") else {{"WWW-Authenticate": realm}}
        body = json.dumps({{"errors": [{{"code": name, "message": name.lower()}}]}}).encode()
        self.send_response(code)
        for key, value in more.items():
            self.send_header(key, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
    do_HEAD = do_GET

ThreadingHTTPServer(("127.0.0.1", {PORT}), Registry).serve_forever()
"""


def registry_pod(image: str) -> dict[str, Any]:
    """Return the pod of the registry; the image needs Python."""
    ready = {"tcpSocket": {"host": "127.0.0.1", "port": PORT}, "periodSeconds": 1}
    container = {
        "name": "registry",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", _CODE],
        "readinessProbe": ready,
    }
    spec = {"hostNetwork": True, "terminationGracePeriodSeconds": 0, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "registry"}, "spec": spec}
