"""What Kubernetes rejects in a pod beside fields of a wrong type; the API server agrees
(``tests/kubernetes/test_pod_rules.py``).
"""

from __future__ import annotations

from typing import Any

import pytest

from daskjob.core.spec.doubts import doubts
from daskjob.core.spec.pod_rules import pod_mistakes
from tests.core.manifests import container, job, pod
from tests.core.pod_specimens import RIGHT, WRONG


@pytest.mark.parametrize("path", WRONG)
def test_wrong_pod_has_one_mistake_at_its_path(path: str) -> None:
    assert [mistake.path for mistake in pod_mistakes(WRONG[path], "")] == [f".{path.strip()}"]


@pytest.mark.parametrize("case", RIGHT)
def test_right_pod_has_none(case: str) -> None:
    assert list(pod_mistakes(RIGHT[case], "spec")) == []


@pytest.mark.parametrize(
    "spec",
    [
        {"volumes": 3, "containers": [2], "tolerations": {"a": "b"}},
        {"volumes": [{"name": 3}], "containers": [{"env": {"A": "b"}, "resources": [1]}]},
        {"containers": [{"ports": [{"containerPort": "x"}], "volumeMounts": [{"name": None}]}]},
    ],
)
def test_fields_of_wrong_types_are_left_to_the_other_rules(spec: dict[str, Any]) -> None:
    list(pod_mistakes(spec, "spec"))


def test_volume_without_a_source_is_a_doubt() -> None:
    manifest = job(runner={**pod(container("job", "python")), "volumes": [{"name": "data"}]})
    (doubt,) = doubts(manifest)
    assert "spec.job.spec.volumes[0] names no source, so it is an empty folder" in doubt
