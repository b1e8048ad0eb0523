"""PodSpecs whose fields have the right types, right and wrong, for our rules and the API server."""

from __future__ import annotations

from typing import Any


def _pod(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"containers": [{"name": "a", "image": "b", **(container or {})}], **spec}


_FIELD = {"fieldRef": {"fieldPath": "metadata.name"}}
_KEY = {"configMapKeyRef": {"name": "a", "key": "b"}}
_DATA = {"name": "data", "emptyDir": {}}


def _env(**variable: Any) -> dict[str, Any]:
    return _pod({"env": [{"name": "A", **variable}]})


def _resources(limit: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    return _pod({"resources": {"limits": limit, "requests": request}})


RIGHT = {
    "a variable with an empty value and a source": _env(value="", valueFrom=_FIELD),
    "a volume without a source": _pod(volumes=[{"name": "data"}]),
    "a volume at two paths": _pod(
        {"volumeMounts": [{"name": "data", "mountPath": p} for p in ("/x", "/y")]}, volumes=[_DATA]
    ),
    "an empty policy": _pod({"imagePullPolicy": ""}),
    "a toleration of all effects": _pod(tolerations=[{"operator": "Exists", "effect": ""}]),
    "a request of the limit in other units": _resources({"memory": "1Gi"}, {"memory": "1024Mi"}),
    "a request of all devices": _resources({"example.com/gpu": 2}, {"example.com/gpu": "2"}),
}
#: Each with the path of its mistake.
WRONG = {
    "containers[0].env[0].valueFrom": _env(value="x", valueFrom=_FIELD),
    "containers[0].env[0].valueFrom ": _env(valueFrom={}),
    "containers[0].env[0].valueFrom  ": _env(valueFrom=_FIELD | _KEY),
    "volumes[0]": _pod(volumes=[{**_DATA, "hostPath": {"path": "/x"}}]),
    "volumes[1].name": _pod(volumes=[_DATA, _DATA]),
    "volumes[0].name": _pod(volumes=[{"name": "My_Data", "emptyDir": {}}]),
    "containers[0].volumeMounts[0].name": _pod(
        {"volumeMounts": [{"name": "dta", "mountPath": "/x"}]}, volumes=[_DATA]
    ),
    "initContainers[0].volumeMounts[1].mountPath": _pod(
        initContainers=[
            {
                "name": "i",
                "image": "b",
                "volumeMounts": [{"name": "data", "mountPath": "/x"}] * 2,
            }
        ],
        volumes=[_DATA],
    ),
    "containers[0].imagePullPolicy": _pod({"imagePullPolicy": "always"}),
    "containers[0].terminationMessagePolicy": _pod({"terminationMessagePolicy": "file"}),
    "restartPolicy": _pod(restartPolicy="never"),
    "dnsPolicy": _pod(dnsPolicy="clusterfirst"),
    "tolerations[0].operator": _pod(tolerations=[{"key": "a", "operator": "exists"}]),
    "tolerations[0].effect": _pod(tolerations=[{"operator": "Exists", "effect": "noschedule"}]),
    "containers[0].ports[0].protocol": _pod({"ports": [{"containerPort": 80, "protocol": "tcp"}]}),
    "containers[0].ports[0].containerPort": _pod({"ports": [{"containerPort": 80000}]}),
    "containers[0].name": _pod({"name": "My_Container"}),
    "containers[0].resources.requests.memory": _resources({"memory": "1Gi"}, {"memory": "4Gi"}),
    "containers[0].resources.requests.example.com/gpu": _resources(
        {"example.com/gpu": 2}, {"example.com/gpu": 1}
    ),
    "containers[0].resources.limits.cpu": _pod({"resources": {"limits": {"cpu": "-1"}}}),
}
