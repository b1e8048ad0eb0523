"""Names, labels and their limits (design §2.2)."""

from __future__ import annotations

import pytest

from daskjob.core import names
from daskjob.core.spec import PodTemplate

LONG = "a" * 63


@pytest.mark.parametrize("name", ["a", "simple-job", "a1", "job-2024", LONG])
def test_a_name_of_letters_digits_and_dashes_up_to_63_is_valid(name: str) -> None:
    assert names.is_valid_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "2024-run", "-a", "a-", "A", "a.b", "a_b", "a" * 64, "é", "a\n"],
    ids=["empty", "digit first", "dash first", "dash last", "upper", "dot", "_", "64", "é", "nl"],
)
def test_a_name_that_a_service_could_not_have_is_invalid(name: str) -> None:
    assert not names.is_valid_name(name)


def test_a_name_within_the_limit_is_never_changed() -> None:
    assert names.shortened(LONG) == LONG


def test_a_name_above_63_keeps_its_beginning_and_gets_a_hash_of_8() -> None:
    short = names.shortened("a" * 64)
    assert len(short) == 63
    assert short.startswith("a" * 54 + "-")
    assert len(short.rpartition("-")[2]) == 8


def test_two_long_names_that_differ_at_their_end_only_stay_different() -> None:
    assert names.shortened(LONG + "x") != names.shortened(LONG + "y")


def test_a_shortened_name_has_no_doubled_dash_where_it_is_cut() -> None:
    assert "--" not in names.shortened("a" * 50 + "-" * 10 + "b" * 10)


@pytest.mark.parametrize(
    ("attempt", "expected"), [(0, "sums-runner"), (1, "sums-runner-1"), (12, "sums-runner-12")]
)
def test_the_runner_of_attempt_0_has_the_documented_name(attempt: int, expected: str) -> None:
    assert names.runner_name("sums", attempt) == expected


def test_the_scheduler_pods_name_is_never_shortened() -> None:
    assert names.scheduler_pod_name(LONG) == LONG + "-scheduler"


def test_the_schedulers_service_has_the_pods_name_where_it_fits_63() -> None:
    cluster = "a" * 53
    assert names.scheduler_service_name(cluster) == cluster + "-scheduler"


def test_the_services_name_above_63_is_shortened_in_the_clusters_part() -> None:
    service = names.scheduler_service_name(LONG)
    assert len(service) == 63
    assert service.endswith("-scheduler")
    assert names.is_valid_name(service)


def test_a_default_group_and_its_workers_are_named_after_the_cluster() -> None:
    assert names.group_name("simple") == "simple-default"
    assert names.worker_name("simple-default", "1f6c670fba") == "simple-default-worker-1f6c670fba"


def test_a_group_of_a_cluster_with_63_characters_still_has_a_valid_name() -> None:
    assert names.is_valid_name(names.group_name(LONG))


@pytest.mark.parametrize(
    "name",
    [
        names.runner_name("sums", 3),
        names.group_name("sums"),
        names.files_name("sums"),
        names.worker_name("sums-default", "0123456789"),
    ],
)
def test_only_the_schedulers_names_contain_the_word_scheduler(name: str) -> None:
    assert "scheduler" not in name


@pytest.mark.parametrize(
    "key",
    [
        "kopf.zalando.org/last-handled-configuration",
        "kubectl.kubernetes.io/last-applied-configuration",
        "argocd.argoproj.io/instance",
        "app.kubernetes.io/instance",
        "kubernetes.dask.org/attempt",
    ],
)
def test_metadata_that_tools_track_an_object_by_is_private(key: str) -> None:
    assert names.is_private(key)


@pytest.mark.parametrize("key", ["app.kubernetes.io/name", "team", "dask.org/cluster-name"])
def test_other_metadata_is_not_private(key: str) -> None:
    assert not names.is_private(key)


@pytest.mark.parametrize(
    ("annotated", "containers", "main"),
    [
        ("b", ["job", "b"], "b"),
        ("gone", ["x", "job"], "job"),
        ("", ["job", "job-runner"], "job-runner"),
        ("", ["x", "job"], "job"),
        ("", ["x", "y"], "x"),
        ("", [], ""),
    ],
    ids=["annotation", "annotation of no container", "job-runner", "job", "first", "none"],
)
def test_the_main_container_is_annotated_else_job_runner_else_job_else_the_first(
    annotated: str, containers: list[str], main: str
) -> None:
    annotations = {names.ANNOTATION_DEFAULT_CONTAINER: annotated} if annotated else {}
    template = PodTemplate({"containers": [{"name": n} for n in containers]}, {}, annotations)
    assert template.main_container("job-runner", "job") == main
