"""The images of a job's pods."""

from __future__ import annotations

import pytest

from daskjob.core.manifests import Manifest
from daskjob.submit.client.images import images_of

DIGEST = "sha256:0123456789abcdef"


def pod(component: str, *statuses: Manifest, owner: str = "") -> Manifest:
    owners = [{"uid": owner, "controller": True}] if owner else []
    return {
        "metadata": {"labels": {"dask.org/component": component}, "ownerReferences": owners},
        "status": {"containerStatuses": list(statuses)},
    }


@pytest.mark.parametrize(
    ("status", "image"),
    [
        (
            {"image": "dask:1", "imageID": f"example.org/dask@{DIGEST}"},
            f"example.org/dask@{DIGEST}",
        ),
        ({"image": "dask:1", "imageID": DIGEST}, f"dask:1 {DIGEST}"),
        ({"image": "dask:1", "imageID": ""}, None),
        ({}, None),
    ],
)
def test_image_has_its_digest_once_it_is_known(status: Manifest, image: str | None) -> None:
    assert images_of([pod("worker", status)], "u").get("worker") == image


def test_components_are_apart_and_the_runner_of_another_job_is_left_out() -> None:
    def of(name: str) -> Manifest:
        return {"image": name, "imageID": f"{name}@{DIGEST}"}

    pods = [
        pod("job-runner", of("a"), owner="u"),
        pod("job-runner", of("b"), owner="other"),
        pod("worker", of("d")),
        pod("worker", of("c"), of("sidecar")),
        pod("worker", of("c")),
        {"metadata": {}, "status": {}},
    ]
    assert images_of(pods, "u") == {
        "runner": f"a@{DIGEST}",
        "worker": f"c@{DIGEST}, d@{DIGEST}, sidecar@{DIGEST}",
    }
