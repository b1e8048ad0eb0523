"""Pods that cannot be prepared: which end, which are retried, and the messages."""

from __future__ import annotations

from typing import Any

import pytest

from daskjob.backends.fake import FakeBackend
from daskjob.core import names
from daskjob.core.exit_codes import exit_code
from daskjob.core.manifests import Manifest, format_time
from tests.core import manifests
from tests.core.manifests import cluster_spec
from tests.core.stories import Story

MISSING = (
    "sums-lib cannot be installed from http://index. Check the names and the versions.\n"
    "ERROR: No matching distribution found for sums-lib==9"
)
SILENT = "http://index did not answer. It is tried again."
BACK_OFF: Manifest = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}}
PACKAGES: Manifest = {"requirements": ["sums-lib==9"]}


def starting(annotations: Manifest | None = None, **spec: Any) -> Story:
    """A job with packages whose pods exist."""
    given = {"environment": PACKAGES, "cluster": {"spec": cluster_spec(replicas=2)}, **spec}
    manifest = manifests.job(**given)
    manifest["metadata"]["annotations"] = annotations or {}
    story = Story(manifest, FakeBackend())
    story.settle()
    return story


def ended(code: int, message: str, reason: str = "Error") -> Manifest:
    """The state of a container that ended."""
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def fail_runner(story: Story, code: int, message: str, reason: str = "Error") -> None:
    """Let the init container of the runner fail: the pod ends."""
    init = {"name": "daskjob-environment", "state": ended(code, message, reason)}
    pod = story.runner(story.status.attempt)
    story.world._set(pod, phase="Failed", initContainerStatuses=[init])
    story.settle()


def fail_in_place(
    story: Story,
    pod: Manifest,
    code: int,
    message: str,
    restarts: int = 1,
    state: Manifest = BACK_OFF,
) -> None:
    """Let the init container of a pod fail, which its node starts again."""
    init = {
        "name": "daskjob-environment",
        "restartCount": restarts,
        "state": state,
        "lastState": ended(code, message),
    }
    story.world.wait_with(pod, "PodInitializing")
    now = format_time(story.world.now)
    story.world._set(pod, initContainerStatuses=[init], startTime=now)
    story.settle()


def test_what_cannot_be_installed_ends_the_job_at_once_with_the_installers_words() -> None:
    story = starting(backoffLimit=6)
    fail_runner(story, 78, MISSING)
    assert (story.word, story.status.reason) == ("Failed", "EnvironmentFailed")
    assert story.status.exit_code == 78
    assert len(story.status.attempts) == 1
    assert story.status.message == (
        "the packages or the code of pod sums-runner could not be prepared: sums-lib cannot be "
        "installed from http://index. Check the names and the versions. The installer's last "
        "lines: ERROR: No matching distribution found for sums-lib==9."
    )


def test_silent_index_is_tried_again_without_being_counted() -> None:
    story = starting(backoffLimit=0, failurePolicy={"maxIgnored": 2})
    for attempt in range(2):
        assert story.status.attempt == attempt
        fail_runner(story, 75, SILENT)
        assert not story.status.finished
        assert story.status.attempts[-1].reason == "EnvironmentFailed"
        story.after(400)
    assert (story.status.failures, story.status.ignored) == (0, 2)
    fail_runner(story, 75, SILENT)
    assert (story.word, story.status.reason) == ("Failed", "EnvironmentFailed")


def test_other_end_of_the_installer_is_a_failure_that_counts() -> None:
    story = starting(backoffLimit=1)
    fail_runner(story, 1, "Traceback\nMemoryError")
    assert not story.status.finished
    assert story.status.failures == 1
    assert "the installer ended with code 1" in story.status.attempts[-1].message
    assert "MemoryError" in story.status.attempts[-1].message


def test_installer_without_memory_is_told_from_a_script_without_memory() -> None:
    story = starting(backoffLimit=0)
    fail_runner(story, 137, "", "OOMKilled")
    assert story.status.reason == "EnvironmentFailed"
    assert "ran out of memory. Raise the memory limit" in story.status.message


def test_image_without_python_is_final() -> None:
    story = starting(backoffLimit=6)
    text = 'exec: "python": executable file not found in $PATH'
    fail_runner(story, 128, text, "StartError")
    assert (story.word, story.status.reason) == ("Failed", "EnvironmentFailed")
    assert "Use an image with Python" in story.status.message


@pytest.mark.parametrize(("code", "expected"), [(78, 125), (75, 121), (1, 125)])
def test_commands_never_exit_with_the_installers_code(code: int, expected: int) -> None:
    story = starting(backoffLimit=0, failurePolicy={"maxIgnored": 0})
    fail_runner(story, code, SILENT)
    assert exit_code(story.status) == expected


def test_rule_may_end_a_job_whose_index_is_silent() -> None:
    rule = {"action": "FailJob", "onReasons": ["EnvironmentFailed"]}
    story = starting(failurePolicy={"rules": [rule]})
    fail_runner(story, 75, SILENT)
    assert (story.word, story.status.reason) == ("Failed", "EnvironmentFailed")


def test_scheduler_that_cannot_be_prepared_ends_the_attempt_before_it_is_restarted_often() -> None:
    story = starting(backoffLimit=6)
    fail_in_place(story, story.scheduler(), 78, MISSING)
    assert (story.word, story.status.reason) == ("Failed", "EnvironmentFailed")
    assert "pod sums-scheduler" in story.status.message
    assert story.status.exit_code == 78


def test_workers_that_cannot_be_prepared_end_the_attempt() -> None:
    story = starting(backoffLimit=6)
    story.world.start(story.scheduler())
    story.world.start(story.runner())
    fail_in_place(story, story.workers()[0], 78, MISSING)
    assert (story.word, story.status.reason) == ("Failed", "EnvironmentFailed")
    assert "-worker-" in story.status.message


def test_one_worker_of_several_that_cannot_be_prepared_is_named_and_ends_nothing() -> None:
    story = starting(backoffLimit=6)
    story.world.start(story.scheduler())
    story.world.start(story.runner())
    first, second = story.workers()
    story.world.start(first)
    story.settle()
    fail_in_place(story, second, 78, MISSING, restarts=9)
    story.after(60)
    assert story.word == "Running"
    assert story.condition("WorkersReady") == (False, "EnvironmentFailed")
    assert second["metadata"]["name"] in story.status.message


@pytest.mark.parametrize("role", ["scheduler", "workers"])
def test_silent_index_of_other_roles_is_tried_in_place_then_in_a_new_attempt(role: str) -> None:
    story = starting(backoffLimit=0)
    story.world.start(story.runner())
    pods = [story.scheduler()]
    if role == "workers":
        story.world.start(story.scheduler())
        pods = story.workers()
    condition = "SchedulerReady" if role == "scheduler" else "WorkersReady"
    for pod in pods:
        fail_in_place(story, pod, 75, SILENT, restarts=4)
    assert story.condition(condition) == (False, "EnvironmentFailed")
    assert not story.status.attempts
    for pod in pods:
        fail_in_place(story, pod, 75, SILENT, restarts=5)
    assert not story.status.finished
    assert story.status.attempts[-1].reason == "EnvironmentFailed"
    assert story.status.ignored == 1


@pytest.mark.parametrize("annotations", [{}, {names.ANNOTATION_SCRIPT: names.SUBMITTED_SCRIPT}])
@pytest.mark.parametrize("role", ["scheduler", "workers"])
def test_pod_that_is_being_prepared_again_has_the_cause_of_the_try_before(
    role: str, annotations: Manifest
) -> None:
    story = starting(annotations, backoffLimit=0)
    story.world.start(story.runner())
    pods = [story.scheduler()]
    if role == "workers":
        story.world.start(story.scheduler())
        pods = story.workers()
    for pod in pods:
        fail_in_place(story, pod, 75, SILENT, restarts=2, state={"running": {}})
    condition = "SchedulerReady" if role == "scheduler" else "WorkersReady"
    assert story.condition(condition) == (False, "EnvironmentFailed")
    assert story.status.reason == "EnvironmentFailed"
    assert "could not be prepared: http://index did not answer" in story.status.message


def test_config_map_is_one_request_and_survives_the_attempts() -> None:
    plain = Story(manifests.job(), FakeBackend())
    plain.settle()
    story = starting(cluster={"spec": cluster_spec()}, code={"configMaps": ["code-0"]})
    made = [write for write in story.world.writes if "ConfigMap" in write]
    assert made == ["create ConfigMap/sums-environment"]
    assert len(story.world.writes) == len(plain.world.writes) + 1
    fail_runner(story, 75, SILENT)
    story.after(400)
    assert story.status.attempt == 1
    assert len([write for write in story.world.writes if "ConfigMap" in write]) == 1


def test_requirements_that_change_after_the_start_are_ignored_with_one_event() -> None:
    story = starting(code={"configMaps": ["code-0"]})
    first = story.runner()["spec"]
    before = story.status.spec_hash
    story.edit(environment={"requirements": ["other==1"]}, code={"image": "h.test/code"})
    fail_runner(story, 75, SILENT)
    story.after(400)
    assert story.status.spec_hash == before
    assert story.status.ignored_spec_hash not in ("", before)
    second = story.runner(1)["spec"]
    for part in ("volumes", "initContainers"):
        assert second[part] == first[part]


def test_update_through_older_types_leaves_packages_and_code_to_the_next_attempt() -> None:
    story = starting(environment={**PACKAGES, "secretName": "s"}, code={"configMaps": ["code-0"]})
    first = story.runner()["spec"]
    story.edit(environment=None, code=None)
    fail_runner(story, 75, SILENT)
    story.after(400)
    assert story.runner(1)["spec"]["initContainers"] == first["initContainers"]
    assert story.runner(1)["spec"]["volumes"] == first["volumes"]


def test_frozen_policy_has_no_lines() -> None:
    policy = starting(environment={**PACKAGES, "findLinks": "/w"}).status.policy or {}
    assert policy["environment"] == {"requirements": 1, "findLinks": "/w"}
    assert "code" not in policy
    assert "environment" not in (Story(manifests.job(), FakeBackend()).status.policy or {})


def test_job_that_began_without_packages_gets_none_later() -> None:
    story = starting(environment=None)
    story.edit(environment=PACKAGES)
    fail_runner(story, 75, SILENT)
    story.after(400)
    assert "initContainers" not in story.runner(story.status.attempt)["spec"]


def test_absent_environment_leaves_the_hash_of_a_job_as_it_was() -> None:
    plain = manifests.read_job(manifests.job()).template_hash
    assert manifests.read_job(manifests.job(environment=None, code=None)).template_hash == plain
    assert manifests.read_job(manifests.job(environment=PACKAGES)).template_hash != plain
