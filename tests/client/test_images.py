"""The images of a job's pods."""

from __future__ import annotations

import pytest

from daskjob.core.manifests import Manifest
from daskjob.submit.client.pod_images import images_of
from daskjob.submit.jobs import PodImage

DIGEST = "sha256:0123456789abcdef"


def pod(component: str, *statuses: Manifest, owner: str = "", name: str = "p") -> Manifest:
    owners = [{"uid": owner, "controller": True}] if owner else []
    labels = {"dask.org/component": component}
    return {
        "metadata": {"name": name, "labels": labels, "ownerReferences": owners},
        "status": {"containerStatuses": list(statuses)},
    }


@pytest.mark.parametrize(
    ("status", "images"),
    [
        (
            {"image": "dask:1", "imageID": f"example.org/dask@{DIGEST}"},
            [f"example.org/dask@{DIGEST}"],
        ),
        ({"image": "dask:1", "imageID": DIGEST}, [f"dask:1 {DIGEST}"]),
        ({"image": "dask:1", "imageID": ""}, []),
        ({}, []),
    ],
)
def test_image_has_its_digest_once_it_is_known(status: Manifest, images: list[str]) -> None:
    assert [image.image_id for image in images_of([pod("worker", status)], "job", "u")] == images


def test_roles_are_apart_and_the_runner_of_another_job_is_left_out() -> None:
    def of(name: str) -> Manifest:
        return {"image": name, "imageID": f"{name}@{DIGEST}"}

    pods = [
        pod("job-runner", of("a"), owner="u", name="job-runner"),
        pod("job-runner", of("b"), owner="other", name="other-runner"),
        pod("worker", of("c"), of("sidecar")),
        {"metadata": {}, "status": {}},
    ]
    assert images_of(pods, "job", "u") == (
        PodImage("runner", 0, f"a@{DIGEST}"),
        PodImage("worker", None, f"c@{DIGEST}"),
    )
