"""The spec of a DaskAutoscaler (design §2.1)."""

from __future__ import annotations

import copy

import pytest

from daskjob.core.errors import FieldError, Invalid
from daskjob.core.spec import DaskAutoscaler, parse, read_autoscaler
from tests.core.manifests import autoscaler, documented
from tests.core.specimens import full_autoscaler


def test_the_documented_autoscaler_parses_without_a_mistake() -> None:
    manifest = documented("autoscaler")
    before = copy.deepcopy(manifest)
    found = parse(DaskAutoscaler, manifest)
    assert (found.cluster, found.minimum, found.maximum) == ("simple", 1, 10)
    assert manifest == before


def test_absent_fields_of_an_autoscaler_have_their_defaults() -> None:
    found = parse(DaskAutoscaler, documented("autoscaler"))
    assert found.group_name == "simple-default"
    assert found.interval_seconds == 5
    assert found.scale_down_delay_seconds == 60
    assert found.scale_up_delay_seconds == 0
    assert found.maximum_step is None


def test_every_field_of_an_autoscaler_is_read() -> None:
    found = parse(DaskAutoscaler, full_autoscaler())
    assert found == DaskAutoscaler(
        meta=found.meta,
        cluster="simple",
        minimum=1,
        maximum=10,
        worker_group="simple-gpu",
        interval_seconds=10,
        scale_down_delay_seconds=120,
        scale_up_delay_seconds=5,
        maximum_step=2,
    )
    assert found.group_name == "simple-gpu"


def test_delays_of_0_are_no_delay() -> None:
    found = parse(DaskAutoscaler, autoscaler(scaleDownDelaySeconds=0, scaleUpDelaySeconds=0))
    assert (found.scale_down_delay_seconds, found.scale_up_delay_seconds) == (0, 0)


def test_every_mistake_of_an_autoscaler_is_reported_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        parse(DaskAutoscaler, autoscaler("A", cluster="", minimum=-1, maximum="all", step=1))
    assert sorted(mistake.path for mistake in caught.value.errors) == [
        "metadata.name",
        "spec.cluster",
        "spec.maximum",
        "spec.minimum",
        "spec.step",
    ]


def test_an_unknown_field_of_an_autoscaler_in_a_cluster_is_no_mistake() -> None:
    errors: list[FieldError] = []
    read_autoscaler(autoscaler(ofANewerDaskjob=3), errors)
    assert errors == []
