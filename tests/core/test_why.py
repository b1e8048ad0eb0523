"""What to do about a job of a cluster, from messages as Kubernetes and Dask write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from daskjob.core.explain import Explanation
from daskjob.core.manifests import Manifest
from daskjob.core.names import ANNOTATION_SCRIPT, SUBMITTED_SCRIPT
from daskjob.core.why.about import About
from daskjob.core.why.cluster import explain_on_cluster

NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
START = "2026-01-01T12:00:00Z"


def job(spec: Manifest | None = None, meta: Manifest | None = None, **status: Any) -> Manifest:
    return {
        "metadata": {
            "name": "sums",
            "namespace": "team",
            "creationTimestamp": START,
            **(meta or {}),
        },
        "spec": spec or {},
        "status": status,
    }


def waiting(reason: str, message: str, spec: Manifest | None = None, **more: Any) -> Manifest:
    given = {"jobStatus": "ClusterCreated", "phase": "Pending", "attemptStartTime": START, **more}
    return job(spec, reason=reason, message=message, **given)


def failed(reason: str, message: str, **more: Any) -> Manifest:
    given = {"jobStatus": "Failed", "phase": "Failed", "jobRunnerPodName": "sums-runner", **more}
    return job(reason=reason, message=message, **given)


def why(manifest: Manifest, **more: Any) -> Explanation:
    return explain_on_cluster(About(manifest, now=NOW, **more))


def pulls(image: str, error: str) -> str:
    return (
        f"the image of container job in pod sums-runner cannot be pulled: failed to pull and "
        f'unpack image "{image}": {error}. Check the image\'s name and the imagePullSecrets.'
    )


NO_NODE = "pod sums-runner does not fit on any node: 0/3 nodes are available: "
REJECTED = "Pod team/sums-runner could not be created: "
POD = {"spec": {"containers": [{"name": "job", "resources": {"requests": {"cpu": "64"}}}]}}


@pytest.mark.parametrize(
    ("reason", "message", "step", "command"),
    [
        ("ImagePull", pulls("ghcr.io/a/b:1", "ghcr.io/a/b:1: not found"),
         "Correct the name or the tag of ghcr.io/a/b:1", "kubectl get daskjob sums "),
        ("ImagePull", pulls("ghcr.io/a/b:1", "pull access denied, repository does not exist"),
         "Create a pull secret for ghcr.io", "--docker-server=ghcr.io"),
        ("ImagePull", pulls("python:9", "403 Forbidden"),
         "Create a pull secret for docker.io", "create secret docker-registry"),
        ("ImagePull", pulls("r.example.com/a:1", "dial tcp: lookup r.example.com: no such host"),
         "Check that the nodes reach r.example.com", "kubectl describe pod sums-runner -n team"),
        ("Unschedulable", NO_NODE + "3 Insufficient cpu.", "Request less (cpu: 64)",
         "kubectl describe nodes"),
        ("Unschedulable", NO_NODE + "3 Insufficient cpu.", "(daskjob list -A shows other jobs)",
         "kubectl describe nodes"),
        ("Unschedulable", NO_NODE + "1 Insufficient memory, 2 Insufficient nvidia.com/gpu.",
         "Request less (memory, nvidia.com/gpu)", "describe nodes"),
        ("Unschedulable", NO_NODE + "3 node(s) had untolerated taint {gpu: true}.",
         "Tolerate the taint", "TAINTS:"),
        ("Unschedulable", NO_NODE + "3 node(s) didn't match Pod's node affinity/selector.",
         "Correct the node affinity", "LABELS:"),
        ("Unschedulable", "PersistentVolumeClaim data does not exist in namespace team. Create it, "
         "or correct its name.", "Create PersistentVolumeClaim data", "kubectl get pvc -n team"),
        ("Unschedulable", NO_NODE + 'persistentvolumeclaim "data" not found.',
         "Create PersistentVolumeClaim data", "kubectl get pvc -n team"),
        ("Unschedulable", NO_NODE + "3 node(s) had volume node affinity conflict.",
         "claims of the pod", "kubectl get pvc -n team"),
        ("Unschedulable", NO_NODE + "pod has unbound immediate PersistentVolumeClaims.",
         "claims of the pod", "kubectl get pvc -n team"),
        ("Unschedulable", NO_NODE + "3 node(s) were unschedulable.", "Change the pod's spec",
         "kubectl describe pod sums-runner -n team"),
        ("QuotaExceeded", REJECTED + "exceeded quota: team, requested: pods=1, used: pods=9",
         "ask for a larger quota", "kubectl describe quota team -n team"),
        ("Rejected", REJECTED + "failed quota: team: must specify limits.cpu for: job.",
         "Write limits.cpu for: job into the pod specs", "describe quota team"),
        ("Rejected", REJECTED + 'violates PodSecurity "baseline:latest": host namespaces',
         "baseline is the level", "get namespace team --show-labels"),
        ("Rejected", REJECTED + "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
         "as p demands", "describe validatingadmissionpolicy p"),
        ("Rejected", REJECTED + 'admission webhook "v.x.io" denied the request: no',
         "webhook v.x.io", "validatingwebhookconfigurations"),
        ("Rejected", REJECTED + 'failed calling webhook "v.x.io": service not found',
         "webhook v.x.io", "validatingwebhookconfigurations"),
        ("ConfigMissing", 'container job in pod sums-runner lacks one: secret "s3" not found',
         "Create it", "kubectl create secret generic s3 --from-literal=KEY=VALUE -n team"),
        ("ConfigMissing", 'a volume: MountVolume.SetUp failed: configmap "c" not found',
         "Create it", "kubectl create configmap c"),
        ("ConfigMissing", "it lacks: couldn't find key k in ConfigMap team/c.",
         "Add the key k to ConfigMap c", "kubectl describe configmap c -n team"),
        ("ConfigMissing", "a volume: references non-existent secret key: k.",
         "Add the key k", "kubectl describe secrets -n team"),
    ],
)  # fmt: skip
def test_a_waiting_job_and_one_that_a_deadline_ended_have_the_same_next_step(
    reason: str, message: str, step: str, command: str
) -> None:
    spec = {"job": POD}
    late = f"the runner did not start within startupDeadlineSeconds (5 s), because {message}"
    found = [
        why(waiting(reason, message, spec)),
        why({**failed("StartupDeadlineExceeded", late), "spec": spec}),
        why({**failed("DeadlineExceeded", late), "spec": spec}),
    ]
    for answer in found:
        assert step in answer.next_step
        assert command in answer.command
        assert answer.evidence == ()


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("EnvironmentFailed", False),
        ("ImagePull", False),
        ("ExitCode", True),
        ("StartupDeadlineExceeded", True),
    ],
)
@pytest.mark.parametrize("annotations", [{}, {ANNOTATION_SCRIPT: SUBMITTED_SCRIPT}])
def test_pods_without_a_node_are_no_evidence_for_another_end(
    reason: str, shown: bool, annotations: Manifest
) -> None:
    waits = {"type": "SchedulerReady", "status": "False", "reason": "Unschedulable"}
    fits = {**waits, "message": f"{NO_NODE}1 Insufficient cpu.".replace("runner", "scheduler")}
    manifest = failed(reason, "it did not work.", conditions=[fits])
    manifest["metadata"]["annotations"] = annotations
    assert ("does not fit" in "\n".join(why(manifest).evidence)) is shown


def test_a_claim_for_which_all_pods_wait_is_named_once() -> None:
    text = "PersistentVolumeClaim data does not exist in namespace team. Create it, or correct it."
    never = {"status": "False", "reason": "Unschedulable", "message": text}
    types = ("RunnerReady", "SchedulerReady", "WorkersReady")
    conditions = [{"type": kind, **never} for kind in types]
    answer = why(waiting("Unschedulable", text, conditions=conditions))
    assert answer.headline.endswith(
        "(Unschedulable): PersistentVolumeClaim data does not exist in namespace team."
    )
    assert answer.evidence == ()


@pytest.mark.parametrize(
    ("message", "events", "text", "command"),
    [
        ('sums: pods is forbidden: User "op" cannot create resource "pods" in API group "" in the '
         'namespace "team"; a Role in namespace team grants it with the rule {verbs: [create]}', (),
         "the rule {verbs: [create]}", "kubectl auth can-i create pods --as op -n team"),
        ('User "op" cannot patch resource "daskclusters" in API group "kubernetes.dask.org"',
         (("Rejected", "no"),), "Grant the operator",
         "auth can-i patch daskclusters.kubernetes.dask.org --as op"),
        ("denied by the webhook authorizer", (), "Grant the operator", ""),
    ],
)  # fmt: skip
def test_a_permission_that_the_operator_lacks_is_named(
    message: str, events: tuple[tuple[str, str], ...], text: str, command: str
) -> None:
    starting = job(jobStatus="JobCreated", phase="Starting", attemptStartTime=START)
    answer = why(starting, warnings=(*events, ("Forbidden", message)))
    assert "sums is waiting: the operator lacks a permission" in answer.headline
    assert text in answer.next_step
    assert command in answer.command
    running = job(jobStatus="Running", phase="Running", attemptStartTime=START)
    assert "permission" not in why(running, warnings=(("Forbidden", message),)).headline


@pytest.mark.parametrize(
    ("context", "created", "since"),
    [
        ("", START, "since it was submitted 30s ago"),
        ("prod", "2026-01-01T12:00:29Z", "no operator has picked it up."),
        ("", None, "no operator has picked it up."),
    ],
)
def test_a_job_without_an_operator_has_its_age_and_a_command(
    context: str, created: str | None, since: str
) -> None:
    answer = why(job(meta={"creationTimestamp": created}), context=context)
    assert since in answer.headline
    assert "daskjob install" in answer.next_step
    assert answer.command.endswith("--context prod") is bool(context)


@pytest.mark.parametrize("status", [5, [1], "x", None])
def test_a_status_that_is_no_object_counts_as_none(status: Any) -> None:
    assert "has no status" in why({**job(), "status": status}).headline


def test_a_job_of_another_manager_is_left_to_it() -> None:
    answer = why(job({"managedBy": "kueue.x-k8s.io/multikueue"}))
    assert "leaves it to kueue.x-k8s.io/multikueue" in answer.headline


def policy(name: str, types: list[str] | None = None, **selector: Any) -> Manifest:
    spec: Manifest = {"podSelector": selector}
    return {"metadata": {"name": name}, "spec": spec | ({"policyTypes": types} if types else {})}


RUNNER = {"dask.org/component": "job-runner"}


@pytest.mark.parametrize(
    ("policies", "named"),
    [
        ([policy("deny", ["Egress"])], "deny"),
        ([policy("other", ["Egress"], matchLabels={"app": "web"}), policy("deny")], "deny"),
        ([policy("runners", ["Ingress", "Egress"], matchLabels=RUNNER)], "runners"),
        ([policy("in", ["Egress"], matchExpressions=[
            {"key": "team", "operator": "In", "values": ["a", "b"]}])], "in"),
        ([policy("not", ["Egress"], matchExpressions=[
            {"key": "team", "operator": "NotIn", "values": ["a"]}])], ""),
        ([policy("ingress", ["Ingress"], matchLabels=RUNNER)], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_network_policies_between_runner_and_scheduler_are_named(
    policies: list[Manifest], named: str
) -> None:
    message = "the runner exited with code 1: OSError: Timed out trying to connect to tcp://s:8786"
    meta = {"labels": {"team": "a"}}
    running = job(meta=meta, jobStatus="Running", phase="Running", attemptStartTime=START)
    ended = {**failed("ExitCode", message), "metadata": {**job()["metadata"], **meta}}
    for manifest in (running, ended):
        answer = why(manifest, policies=tuple(policies))
        assert (f"NetworkPolicy {named} " in "\n".join(answer.evidence)) is bool(named)
        if named:
            assert answer.command == f"kubectl describe networkpolicy {named} -n team"


@pytest.mark.parametrize(
    "line",
    [
        "socket.gaierror: [Errno -3] Temporary failure in name resolution",
        "socket.gaierror: [Errno -2] Name or service not known",
        "OSError: cannot resolve 'sums-scheduler.team.svc'",
    ],
)
def test_a_name_that_does_not_resolve_is_dns_not_a_policy(line: str) -> None:
    message = "the runner exited with code 1: OSError: Timed out trying to connect to tcp://s:8786"
    answer = why(failed("ExitCode", message), log_tail=f"Traceback\n{line}\nOSError: Timed out\n")
    assert "dnsPolicy" in answer.next_step
    assert line in answer.evidence[0]


@pytest.mark.parametrize(
    ("pod", "text"),
    [
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"]}}, "nameservers 9.9.9.9"),
        ({"dnsPolicy": "Default"}, "dnsPolicy Default"),
        ({"hostNetwork": True}, "set ClusterFirstWithHostNet"),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, ""),
        ({"dnsPolicy": "ClusterFirst"}, ""),
        ({}, ""),
    ],
)
def test_a_runner_that_does_not_ask_the_clusters_dns_is_named(pod: Manifest, text: str) -> None:
    spec = {"job": {"spec": pod}}
    message = "the runner exited with code 1: OSError: Timed out trying to connect to tcp://s:8786"
    running = job(spec, jobStatus="Running", phase="Running", attemptStartTime=START)
    for manifest in (running, {**failed("ExitCode", message), "spec": spec}):
        answer = why(manifest)
        assert text in "\n".join(answer.evidence)
        assert ("dnsPolicy" in answer.next_step) is bool(text)


TABLE = """\
/site-packages/distributed/client.py:1609: VersionMismatchWarning: Mismatched versions found

+-------------+-----------------+-----------------+---------+
| Package     | Client          | Scheduler       | Workers |
+-------------+-----------------+-----------------+---------+
| dask        | 2026.1.0        | 2026.1.0        | 2023.1.0 |
| python      | 3.12.1.final.0  | 3.12.1.final.0  | {'3.11.7.final.0', '3.12.1.final.0'} |
+-------------+-----------------+-----------------+---------+
  warnings.warn(version_module.VersionMismatchWarning(msg[0]["warning"]))
"""


@pytest.mark.parametrize(
    ("head", "tail", "count"),
    [
        (TABLE, "", 2),
        ("", TABLE + "Traceback (most recent call last):\nKeyError: 1\n", 2),
        (TABLE, TABLE, 2),
        (TABLE.partition("| Package")[0], "", 0),
        ("| a | b | c | d |\n", "", 0),
    ],
)
def test_different_versions_of_a_failed_job_are_named(head: str, tail: str, count: int) -> None:
    message = "the runner exited with code 1 (pod sums-runner): KeyError: 1."
    answer = why(failed("ExitCode", message), log_head=head, log_tail=tail)
    named = [line for line in answer.evidence if line.startswith("versions of ")]
    assert len(named) == count
    assert ("from one image" in answer.next_step) is bool(count)
    if count:
        assert named[0] == (
            "versions of dask differ: client: 2026.1.0, scheduler: 2026.1.0, workers: 2023.1.0"
        )


@pytest.mark.parametrize(
    ("pod", "log", "line"),
    [
        ("sums-default-worker-1", "Usage: dask\n\nError: No such option: --x\n", "No such option"),
        ("sums-scheduler", "Traceback (most recent call last):\nValueError: port\n", "ValueError"),
        ("sums-default-worker-1", "", ""),
    ],
)
def test_the_log_of_a_crashing_pod_is_evidence(pod: str, log: str, line: str) -> None:
    role = "scheduler" if "-scheduler" in pod else "worker"
    reason = "SchedulerFailed" if role == "scheduler" else "WorkersFailed"
    message = f"{role} pod {pod} exits with code 2, restarted once. Check its command and its log."
    answer = why(waiting(reason, message), crash_log=log)
    assert line in "\n".join(answer.evidence)
    assert bool(answer.evidence) is bool(log)
    assert answer.command == f"daskjob logs --pod {pod} -n team sums"


@pytest.mark.parametrize(
    ("message", "groups", "pod"),
    [
        ("the scheduler exited with code 2, restarted once: Error: No such option: --x",
         [], "sums-scheduler"),
        ("the scheduler exited with code 2", [{"name": "gpu"}], "sums-scheduler"),
        ("worker 7d36b62fdd exited with code 2", [], "sums-default-worker-7d36b62fdd"),
        ("worker 7d36b62fdd has an init container get that exited with code 2",
         [], "sums-default-worker-7d36b62fdd"),
        ("worker 7d36b62fdd exited with code 2", [{"name": "gpu"}], ""),
    ],
)  # fmt: skip
def test_the_log_of_a_crashing_pod_of_a_script_has_a_command(
    message: str, groups: list[Manifest], pod: str
) -> None:
    reason = "SchedulerFailed" if "scheduler" in message else "WorkersFailed"
    spec = {"cluster": {"spec": {"workerGroups": groups}}}
    manifest = waiting(reason, f"{message}. Check its command and its log.", spec)
    manifest["metadata"]["annotations"] = {ANNOTATION_SCRIPT: SUBMITTED_SCRIPT}
    assert why(manifest).command == (f"daskjob logs --pod {pod} -n team sums" if pod else "")


def limited(limit: str, *words: str) -> Manifest:
    container = {"args": [*words], "resources": {"limits": {"memory": limit}}}
    return {"spec": {"containers": [container]}}


DIED = "the script exited with code 1: KilledWorker: the task f was run on 4 workers, and each died"
RAISE = ". Raise --memory, or give each task less data (smaller partitions)."
SUSPECT = ". Most often it uses too much memory: raise --memory; or read the workers' logs."
LOST = {"workers": {"losses": [["w", 1.0, ["f"], 0, 172 * 2**20]]}}


@pytest.mark.parametrize(
    ("limit", "step", "report", "limits", "twice"),
    [
        ("300Mi", RAISE, LOST, "(300Mi: 172 MiB for the worker, the rest for ", "600Mi"),
        ("1.5Gi", SUSPECT, {}, "raise --memory (1.5Gi); or read", "3Gi"),
        ("2G", RAISE, {}, "Raise --memory (2G), or", "4G"),
    ],
)
def test_workers_without_memory_have_their_limits_and_the_command_with_more(
    limit: str, step: str, report: Manifest, limits: str, twice: str
) -> None:
    manifest = failed("ExitCode", DIED + step, report=report)
    manifest["metadata"]["annotations"] = {ANNOTATION_SCRIPT: SUBMITTED_SCRIPT}
    workers = {"worker": limited(limit, "dask", "worker", "--memory-limit", "172MiB")}
    manifest["spec"] = {"cluster": {"spec": workers}}
    answer = why(manifest)
    assert limits in answer.next_step
    assert answer.next_step.endswith("Again, with more:")
    assert answer.command == f"daskjob submit -n team --like sums --memory {twice}"


@pytest.mark.parametrize(
    ("template", "step"),
    [
        (limited("300Mi", "sh", "-c", "dask worker"), RAISE),
        (limited("much", "dask", "worker"), RAISE),
        ({}, SUSPECT),
        (limited("300Mi", "dask", "worker"), ". Run the task in the script itself."),
    ],
)
def test_workers_whose_memory_no_option_changes_have_their_peaks(
    template: Manifest, step: str
) -> None:
    manifest = failed("ExitCode", DIED + step)
    manifest["spec"] = {"cluster": {"spec": {"worker": template}}}
    assert why(manifest).command == "daskjob status -n team sums"


@pytest.mark.parametrize(("limit", "twice"), [("60Mi", "256Mi"), ("2Gi", "4Gi"), ("", "")])
def test_a_runner_without_memory_has_the_command_with_more(limit: str, twice: str) -> None:
    manifest = failed("OOMKilled", "the runner ran out of memory (pod sums-runner).")
    manifest["spec"] = {"job": limited(limit, "python", "x.py") if limit else {}}
    more = f"daskjob submit -n team --like sums --runner-memory {twice}"
    assert why(manifest).command == (more if limit else "daskjob logs -n team sums")


@pytest.mark.parametrize("attempts", [0, 1])
def test_a_suspended_job_has_the_command_that_resumes_it(attempts: int) -> None:
    ends = [{"number": n, "reason": "Suspended", "endTime": START} for n in range(attempts)]
    conditions = [{"type": "Suspended", "status": "True", "reason": "Suspended", "message": "s"}]
    answer = why(job(jobStatus="JobCreated", conditions=conditions, attempts=ends))
    assert answer.headline == "sums is suspended and has no pods."
    assert answer.command == "daskjob resume -n team sums"


@pytest.mark.parametrize(
    ("reason", "message", "step"),
    [
        ("OOMKilled", "the runner ran out of memory (pod sums-runner).", "--runner-memory"),
        ("DeadlineExceeded", "the script took longer than --deadline allows.", "--deadline"),
        ("ExitCode", "the script exited with code 1: ModuleNotFoundError: No module named 'x'",
         "daskjob submit --with x; or use an image that has it. Its log:"),
    ],
)  # fmt: skip
def test_a_submitted_script_has_the_options_of_its_command(
    reason: str, message: str, step: str
) -> None:
    manifest = failed(reason, message)
    manifest["metadata"]["annotations"] = {ANNOTATION_SCRIPT: SUBMITTED_SCRIPT}
    assert step in why(manifest).next_step


@pytest.mark.parametrize(
    "status",
    [
        {"jobStatus": "Successful", "phase": "Succeeded"},
        {"jobStatus": "Running", "phase": "Running", "progress": {"total": 3, "done": 1}},
        {"jobStatus": "JobCreated", "phase": "Starting"},
        {"jobStatus": "Running", "phase": "Running", "attemptStartTime": "2026-01-01T12:00:20Z"},
    ],
)
def test_a_healthy_job_has_no_next_step(status: Manifest) -> None:
    answer = why(job(**{"attemptStartTime": START, **status}))
    assert (answer.next_step, answer.command) == ("", "")


def test_a_status_that_never_has_tasks_is_no_sign_of_a_lost_connection() -> None:
    running: dict[str, Any] = {
        "jobStatus": "Running",
        "phase": "Running",
        "attemptStartTime": START,
    }
    assert "has sent no task" in why(job(progress={"total": 0}, **running)).headline
    # Its scheduler has not been asked yet.
    assert why(job(**running)).next_step == ""
    assert "has sent no task" in why(job({"progress": {"intervalSeconds": 5}}, **running)).headline
    assert why(job({"progress": {"intervalSeconds": 0}}, **running)).next_step == ""


ENDED = "the script exited with code 1: it called sys.exit(1) or the like; no exception ended it."
LAST = "the runner exited with code 1 (pod sums-runner): the last line of its output: no input."


@pytest.mark.parametrize(
    ("message", "code", "log", "end"),
    [
        (ENDED, "sys.exit('no input')", "working\nno input\n", "code 1: SystemExit: no input."),
        (LAST, "sys.exit('no input')", "no input\n", "(pod sums-runner): SystemExit: no input."),
        (ENDED, "sys.exit(f'no {day}')", "working\nno 2026-01-31\n", "SystemExit: no 2026-01-31."),
        (ENDED, "sys.exit(1)", "all good\n", "no exception ended it."),
        (ENDED, "sys.exit('no input')", "", "no exception ended it."),
        (ENDED, "((((", "no input\n", "no exception ended it."),
    ],
)
def test_the_text_of_an_exit_is_the_reason_if_the_files_of_the_job_show_it(
    message: str, code: str, log: str, end: str
) -> None:
    manifest = failed("ExitCode", message)
    runner = {"containers": [{"name": "job", "args": ["python", "/daskjob/files/x.py", "-v"]}]}
    manifest["spec"] = {"job": {"files": {"x.py": f"import sys\n{code}\n"}, "spec": runner}}
    assert why(manifest, log_tail=log).headline.endswith(end)


def test_log_of_the_installer_is_the_next_step() -> None:
    message = (
        "the packages or the code of pod sums-runner could not be prepared: pandas cannot be "
        "installed from http://index. Check the names and the versions. The installer's last "
        "lines: No matching distribution; ERROR: 1.0 is missing."
    )
    answer = why(failed("EnvironmentFailed", message))
    assert answer.headline.endswith("pandas cannot be installed from http://index.")
    assert answer.evidence == ("installer: No matching distribution; ERROR: 1.0 is missing",)
    assert answer.next_step == "Check the names and the versions. All that the installer said:"
    assert answer.command == "kubectl logs sums-runner -c daskjob-environment -n team"


@pytest.mark.parametrize(
    ("said", "step"),
    [
        ("the Python of the image is 3.11.2, and the job requires >=3.14. Use an image with such a "
         "Python, or change requires-python of the script (requiresPython of a manifest).",
         "Use an image with such a Python, or change requires-python of the script"),
        ("the requirement 'dask<2' clashes with dask 2026.8.0 of the image. Use an image with that "
         "dask, or leave the requirement out.", "Use an image with that dask, or leave"),
        ("https://git.test/a has no commit 1f. Push it, or name another commit. The installer's "
         "last lines: fatal: not our ref. Use Git.", "Push it, or name another commit."),
    ],
)  # fmt: skip
def test_the_step_of_a_message_about_packages_or_code_is_the_next_one(said: str, step: str) -> None:
    message = f"the packages or the code of pod sums-runner could not be prepared: {said}"
    for manifest in (failed("EnvironmentFailed", message), waiting("EnvironmentFailed", message)):
        answer = why(manifest)
        assert answer.next_step.startswith(step)
        assert answer.next_step.endswith(" All that the installer said:")
        assert answer.headline.endswith(f"prepared: {said.partition('. ')[0]}.")


SILENT = (
    "http://index did not answer, so that pandas cannot be installed: Network is unreachable. If "
    "pods cannot reach it, name a mirror: --index-url URL; or an image that has the packages."
)


def test_remedy_for_a_silent_index_is_the_step_and_its_message_is_not_repeated() -> None:
    pods = ("sums-runner", "sums-runner-1", "sums-scheduler")
    first, last, scheduler = [
        f"the packages or the code of pod {pod} could not be prepared: {SILENT}" for pod in pods
    ]
    ends = [
        {"number": n, "reason": "EnvironmentFailed", "message": text, "exitCode": 75}
        for n, text in enumerate((first, last))
    ]
    never = {
        "type": "SchedulerReady",
        "status": "False",
        "reason": "EnvironmentFailed",
        "message": scheduler,
    }
    more: dict[str, Any] = {
        "jobRunnerPodName": "sums-runner-1",
        "attempts": ends,
        "conditions": [never],
    }
    between = waiting("EnvironmentFailed", last, attempt=2, **{**more, "attemptStartTime": None})
    for manifest, state in (
        (failed("EnvironmentFailed", last, **more), "sums failed (EnvironmentFailed): "),
        (between, "sums is waiting for attempt 2: EnvironmentFailed: "),
    ):
        answer = why(manifest)
        assert answer.headline == (
            f"{state}the packages or the code of pod sums-runner-1 could not be prepared: "
            "http://index did not answer, so that pandas cannot be installed: Network is "
            "unreachable."
        )
        assert answer.next_step.startswith("If pods cannot reach it, name a mirror: --index-url")
        assert answer.evidence == ()
        assert answer.command == "kubectl logs sums-runner-1 -c daskjob-environment -n team"


def test_log_of_a_pod_that_went_with_its_cluster_is_not_offered() -> None:
    message = (
        "the packages or the code of pod sums-default-worker-1 could not be prepared: no index."
    )
    answer = why(failed("EnvironmentFailed", message))
    assert answer.command == ""
    assert answer.next_step == "Correct the requirements or the code. Then submit the job again."
    waits = why(waiting("EnvironmentFailed", message))
    assert waits.command == "kubectl logs sums-default-worker-1 -c daskjob-environment -n team"
