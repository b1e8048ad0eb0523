"""A shared watch shows of one job nothing of another one of the same name, and nothing old."""

from __future__ import annotations

import pytest

from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.kube.objects import Change
from daskjob.submit.client.job_watch import Subscription

OURS = ObjectRef("DaskJob", "default", "sums", "uid-1")
STRANGER = ObjectRef("DaskJob", "default", "sums", "uid-2")


def seen(ref: ObjectRef, version: int) -> Manifest:
    meta = {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid}
    return {"kind": ref.kind, "metadata": {**meta, "resourceVersion": str(version)}}


@pytest.mark.parametrize("gone", [False, True])
def test_a_stranger_of_the_same_name_is_not_shown(gone: bool) -> None:
    subscribed = Subscription(OURS)
    subscribed.show(Change(STRANGER, seen(STRANGER, 7), gone=gone))
    assert (subscribed.latest, subscribed.gone) == ({}, False)


@pytest.mark.parametrize("is_newer", [False, True])
def test_a_newer_list_with_only_a_stranger_shows_that_the_job_is_gone(is_newer: bool) -> None:
    subscribed = Subscription(OURS)
    subscribed.show_listed(seen(STRANGER, 7), is_newer=is_newer)
    assert (subscribed.latest, subscribed.gone) == ({}, is_newer)


def test_a_list_without_the_job_shows_that_it_is_gone_only_if_it_is_newer() -> None:
    older, newer = Subscription(OURS), Subscription(OURS)
    older.show_listed(None, is_newer=False)
    newer.show_listed(None, is_newer=True)
    assert (older.gone, newer.gone) == (False, True)


@pytest.mark.parametrize(("versions", "latest"), [([5, 7], 7), ([7, 5], 7), ([9, 10], 10)])
def test_an_older_state_never_replaces_a_newer_one(versions: list[int], latest: int) -> None:
    subscribed = Subscription(OURS)
    for version in versions:
        subscribed.show(Change(OURS, seen(OURS, version)))
    assert subscribed.latest == seen(OURS, latest)
