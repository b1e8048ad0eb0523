"""Jobs that were submitted from here: found by name at their place, listed, and run again."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from daskjob import JobClient
from daskjob.core.errors import Conflict, NotFound
from daskjob.submit.jobs import JobRef
from daskjob.submit.records.my_jobs import Gone
from daskjob.submit.records.record import ClusterAddress, Record, record_of
from daskjob.submit.records.store import Records
from tests.cli.command import Daskjob, Done
from tests.cli.in_process import call
from tests.client.given import FAILED, SUCCEEDED, job
from tests.cluster.plugin import Kubectl, Kubernetes
from tests.submit.places import ThisMachine, manifest


def quick(daskjob: Daskjob, *words: object) -> Done:
    """Run a command of this user in this process."""
    with contextlib.chdir(daskjob.work):
        return call(words, daskjob.environment)


class Submitter:
    """A user who submits to namespaces of a cluster, and then names none."""

    def __init__(self, daskjob: Daskjob, kubernetes: Kubernetes, namespace: str) -> None:
        daskjob.variables["KUBECONFIG"] = str(kubernetes.kubeconfig)
        self.daskjob = daskjob
        self.kubernetes = kubernetes
        self.namespace = namespace
        self.records = Records(daskjob.state)

    def __call__(self, *words: object) -> Done:
        return quick(self.daskjob, *words)

    def submit(self, name: str, *words: object, **spec: int) -> Done:
        file = self.daskjob.manifest({**job(name), "spec": {**job(name)["spec"], **spec}})
        done = self("submit", "-n", self.namespace, "-f", file, *words)
        assert done.code == 0, done.err
        return done

    def rows(self, *words: object) -> list[list[str]]:
        done = self("list", "-o", "wide", *words)
        assert done.code == 0, done.err
        return [line.split() for line in done.text.splitlines()]

    def end(self, name: str, status: dict[str, object]) -> None:
        """End a job, as an operator does."""
        patch = json.dumps({"status": status})
        words = ("patch", "daskjob", name, "--subresource=status", "--type=merge", "-p", patch)
        self.kubernetes.kubectl("-n", self.namespace, *words)

    def remove(self, name: str) -> None:
        self.kubernetes.kubectl("-n", self.namespace, "delete", "daskjob", name)

    def record(self, name: str) -> Record:
        (found,) = self.records.of(name)
        return found


@pytest.fixture
def user_there(daskjob: Daskjob, with_crds: Kubernetes, namespace: str) -> Submitter:
    return Submitter(daskjob, with_crds, namespace)


def test_submitted_jobs_are_listed_and_found_without_a_namespace(user_there: Submitter) -> None:
    there = user_there
    there.submit("sums", "--token", "t")
    there.submit("sums", "--token", "t")
    there.submit("nightly", "-e", "DB_PASSWORD=hunter2", "-e", "MODE=fast")
    (name, _) = reversed(there.records.names())
    record = there.record("nightly")
    where = f"{record.cluster.context}/{there.namespace}"
    files = [path.read_text() for path in there.daskjob.state.rglob("*.json")]
    assert len(files) == 2
    assert not any("hunter2" in text for text in files)

    header, *rows = there.rows()
    assert header[-1] == "WHERE"
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("nightly", "Pending", where),
        (name, "Pending", where),
    ]
    assert f"Where:      {where}" in there("status", "nightly").text
    assert there("status", "sums", "-o", "name").text == f"daskjob/{name}\n"
    assert there("status", "-o", "name").text == "daskjob/nightly\n"
    assert there("suspend", "nightly").code == 0
    assert there("status", "nightly", "-o", "json").object()["spec"]["suspend"] is True
    assert there("cancel", "nightly").text == "nightly is being cancelled\n"
    assert "daskjob install" in there("why", "nightly").text

    # A job of this machine is beside them.
    there.daskjob.run("--name", "local", there.daskjob.script("print('here')"))
    assert [row[0] for row in there.rows()[1:]] == ["local", "nightly", name]
    assert there.rows()[1][-2:] == ["this", "machine"]
    assert there("logs", "local").text == "here\n"
    listed = there("list", "-n", there.namespace, "-o", "name").text.split()
    assert sorted(listed) == sorted(["daskjob/nightly", f"daskjob/{name}"])
    unknown = there("status", "nosuch")
    assert unknown.code == 125
    assert "no job 'nosuch' was started here" in unknown.err
    # Everything of this machine is deleted, and nothing of a cluster.
    there.end("nightly", SUCCEEDED)
    assert there("delete", "--all").text == "local deleted\n"
    assert there("delete", "nightly").text == "nightly deleted\n"
    assert there.records.names() == (name,)
    assert there("delete", "-n", there.namespace, "--force", name).code == 0
    assert there.records.names() == ()


def test_programs_find_the_same_jobs(
    user_there: Submitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = user_there
    there.submit("sums")
    monkeypatch.setenv("DASKJOB_STATE_DIR", str(there.daskjob.state))
    with JobClient.mine() as jobs:
        job = jobs.find("sums")
        assert jobs.where(job.ref) == there.record("sums").where
        assert [found.ref for found in jobs.list()] == [job.ref]
        assert jobs.names() == ("sums",)
        assert jobs.cancel(job.ref)
        there.end("sums", FAILED)
        ended = jobs.wait(job.ref, raise_on_failure=False)
        assert ended.status.exit_code == 3
        assert there.record("sums").last_status.finished
        first = jobs.retry(job.ref)
        assert jobs.where(first) == jobs.where(job.ref)
        with pytest.raises(Conflict, match="has not ended"):
            jobs.retry(first)
        there.remove("sums")
        with pytest.raises(Gone) as gone:
            jobs.find("sums")
        # One new job for any number of retries, until it has ended.
        assert jobs.retry(gone.value.record.ref) == first
        there.end(first.name, FAILED)
        second = jobs.retry(gone.value.record.ref)
        assert len({job.ref, first, second}) == 3
        assert set(jobs.names()) == {"sums", first.name, second.name}
        jobs.delete(first, force=True)
        assert set(there.records.names()) == {"sums", second.name}
        with pytest.raises(NotFound, match="no job 'nosuch' was started here"):
            jobs.find("nosuch")


def test_ambiguous_name_is_an_error_with_the_commands(user_there: Submitter) -> None:
    there = user_there
    there.submit("sums")
    other = there.record("sums")
    context = other.cluster.context
    there.records.add(
        record_of(
            job("sums"),
            JobRef("sums", "elsewhere", "u"),
            ClusterAddress("", other.cluster.kubeconfig),
        )
    )
    script = there.daskjob.script("print('here')")
    for command in ("status", "logs", "retry"):
        done = there(command, "sums")
        assert (done.code, done.text) == (125, "")
        assert [line.strip() for line in done.err.splitlines()[1:]] == [
            f"daskjob {command} -n elsewhere sums  (in-cluster/elsewhere)",
            f"daskjob {command} -n {there.namespace} --context {context} sums  "
            f"({context}/{there.namespace})",
        ]
    assert there("delete", "--forget", "-n", "elsewhere", "sums").code == 0
    assert there("status", "sums").code == 0
    assert there.daskjob.run("--name", "sums", script).code == 0
    done = there("status", "sums")
    assert done.code == 125
    local, remote = [line.strip().partition("  (")[0] for line in done.err.splitlines()[1:]]
    assert there(*local.split()[1:]).text.startswith("Name:       sums\n")
    assert there(*remote.split()[1:], "-o", "name").text == "daskjob/sums\n"


def test_job_that_is_gone_is_reported_and_runs_again_from_its_record(
    user_there: Submitter, kubectl: Kubectl
) -> None:
    there = user_there
    there.submit("sums", backoffLimit=2)
    there.end("sums", FAILED)
    assert there.rows()[1][:3] == ["sums", "Failed", "ExitCode"]
    assert there.record("sums").last_status.exit_code == 3
    there.remove("sums")
    assert there.rows()[1][:3] == ["sums", "Failed", "ExitCode"]
    for command in ("status", "logs", "why", "attach"):
        gone = there(command, "sums")
        assert gone.code == 125
        assert f"sums is gone from {there.record('sums').where}: it was submitted" in gone.err
        assert "it ended as Failed; daskjob retry sums runs it again" in gone.err

    first, second = (there("retry", "sums", "--token", "again") for _ in range(2))
    assert first.code == 0, first.err
    name = first.text.split()[4].rstrip(",")
    assert second.text == first.text.replace("again as", "again already as")
    assert first.text.startswith(f"sums runs again as {name}, from its record")
    third = there("retry", "-n", there.namespace, "sums")
    assert third.code == 0, third.err
    assert third.text.split()[4].rstrip(",") != name
    repeated = there("retry", "sums")
    assert f"already as {third.text.split()[4]}" in repeated.text
    assert "daskjob retry sums --token TOKEN" in repeated.err
    made = there("status", name, "-o", "json").object()
    assert made["spec"]["backoffLimit"] == 2
    assert made["spec"]["submissionID"] == "again"
    assert len(kubectl.items("daskjobs")) == 2
    assert len(there.records.names()) == 3
    # It is forgotten when it is deleted.
    assert there("delete", "sums").text.startswith("sums deleted: it was gone from ")
    assert "sums" not in there.records.names()
    there.remove(name)
    assert [name, "Deleted"] in [row[:2] for row in there.rows()]


def test_new_job_is_like_another_one_with_changes(user_there: Submitter, kubectl: Kubectl) -> None:
    there = user_there
    words = ["dask", "worker", "--memory-limit", "1GiB"]
    nightly = job("nightly", backoffLimit=1)
    worker = nightly["spec"]["cluster"]["spec"]["worker"]
    container = {**worker["spec"]["containers"][0], "args": words}
    worker["spec"] = {"containers": [container]}
    file = there.daskjob.manifest(nightly)
    assert there("submit", "-n", there.namespace, "-e", "API_KEY=k", "-f", file).code == 0

    def like(*changes: object) -> Done:
        return there("submit", "--like", "nightly", "-o", "json", *changes)

    done = like("--memory", "16Gi", "--set", "spec.backoffLimit=5", "-e", "API_KEY=hunter2")
    assert done.code == 0, done.err
    assert "hunter2" not in done.err
    assert "the new job has a name and a token of its own; changed:\n" in done.err
    assert "spec.backoffLimit: 1 → 5\n" in done.err
    made = done.object()
    assert made["metadata"]["name"].startswith("nightly-")
    assert made["metadata"]["namespace"] == there.namespace
    assert made["spec"]["backoffLimit"] == 5
    (changed,) = made["spec"]["cluster"]["spec"]["worker"]["spec"]["containers"]
    assert changed["resources"]["limits"]["memory"] == "16Gi"
    assert changed["args"] == [*words[:3], "16256MiB"]
    assert len(kubectl.items("daskjobs")) == 2

    for wrong, message in (
        (("--set", "spec.nosuch=1"), "has no field 'nosuch'"),
        (("--file", "a.txt"), "--file is for a script"),
        (("--set", "spec.backoffLimit=many"), "write a whole number"),
    ):
        rejected = like(*wrong)
        assert (rejected.code, rejected.text) == (2, "")
        assert message in rejected.err

    there.remove("nightly")
    # Without its secret values, the record does not suffice.
    for rejected in (there("retry", "nightly"), like(), like("--memory", "1Gi")):
        assert (rejected.code, rejected.text) == (125, "")
        assert "nightly needs API_KEY" in rejected.err
        assert "daskjob submit --like nightly --env API_KEY=VALUE" in rejected.err
    again, same = (like("-e", "API_KEY=k", "--token", "t").object() for _ in range(2))
    assert again == same
    assert again["spec"]["job"]["spec"]["containers"][0]["env"] == [
        {"name": "API_KEY", "value": "k"}
    ]
    assert len(kubectl.items("daskjobs")) == 2
    named = like("-e", "API_KEY=k", "--name", "other", "--dry-run=server").object()
    assert named["metadata"]["name"] == "other"


def test_new_job_has_its_own_files_and_its_own_secret(
    user_there: Submitter, kubectl: Kubectl
) -> None:
    there, work = user_there, user_there.daskjob.work
    (work / "package").mkdir()
    (work / "package" / "__init__.py").write_text("X = 1")
    (work / ".env").write_text("A=hunter2")
    script = there.daskjob.script("import package", "tree.py")
    words = ("-n", there.namespace, "--image", "none", "--env-file", ".env", script)
    first = there("submit", *words).text.split()[0].removeprefix("daskjob/")
    there.end(first, SUCCEEDED)
    done = there("retry", "tree")
    assert done.code == 0, done.err
    retried = done.text.split()[-1]
    assert f"secret/{retried}-env" in kubectl.there("secrets")
    there.remove(first)
    rejected = there("retry", first)
    assert rejected.code == 125
    assert f"daskjob submit --like {first} --env-file {work / '.env'}" in rejected.err
    done = there("submit", "--like", first, "--env-file", ".env", "-o", "json")
    assert done.code == 0, done.err
    last = done.object()["metadata"]["name"]
    items = {
        item["metadata"]["name"]: json.dumps(item["spec"]) for item in kubectl.items("daskjobs")
    }
    assert set(items) == {retried, last}
    for name, spec in items.items():
        assert f'"{name}-files"' in spec
        assert f'"{first}-files"' not in spec
    assert f'"{last}-env"' in items[last]
    assert f'"{first}-env"' not in items[last]
    assert f"secret/{last}-env" in kubectl.there("secrets")


def test_job_of_a_cluster_runs_here_and_one_of_here_there(
    user_there: Submitter, kubectl: Kubectl
) -> None:
    there, daskjob = user_there, user_there.daskjob
    words = ("-n", there.namespace, "--image", "none", "-e", "WORD=sent")
    script = daskjob.script("import os, sys\nprint(os.environ['WORD'], *sys.argv[1:])", "sent.py")
    assert there("submit", *words, script, "a b").code == 0
    here = daskjob("run", "--like", "sent", "-w", 0, "--name", "here", cwd=daskjob.home)
    assert (here.code, here.text) == (0, "sent a b\n"), here.err
    assert "daskjob: like sent-" in here.err
    assert "spec.cluster.spec.worker.replicas: " in here.err
    unnamed = daskjob("run", "--like", "sent", "-w", 0, cwd=daskjob.home)
    assert (unnamed.code, unnamed.text) == (0, "sent a b\n"), unnamed.err

    manifest = job("local")
    (container,) = manifest["spec"]["job"]["spec"]["containers"]
    container["args"] = ["python", "-c", "print('ran')"]
    assert daskjob("run", daskjob.manifest(manifest)).text == "ran\n"
    sent = there("submit", "--like", "local", "-n", there.namespace, "--image", "any:1")
    assert sent.code == 0, sent.err
    assert "like local (this machine)" in sent.err
    name = sent.text.split()[0].removeprefix("daskjob/")
    (made,) = [item for item in kubectl.items("daskjobs") if item["metadata"]["name"] == name]
    assert "any:1" in json.dumps(made)
    assert there("submit", "--like", "absent", "-n", there.namespace).code == 125


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-f", "job.json"), "--like names a job and -f a manifest"),
        (("script.py", "--x"), "leave out script.py --x"),
        (("-m", "module"), "leave out module"),
        (("--memory", "much"), "--memory"),
    ],
)
def test_wrong_use_of_like_is_one_message(
    daskjob: Daskjob, words: tuple[str, ...], message: str
) -> None:
    daskjob.variables["KUBECONFIG"] = str(unreachable(daskjob, "http://127.0.0.1:1"))
    recorded(daskjob, "nightly")
    done = quick(daskjob, "submit", "--like", "nightly", *words, "--dry-run=client")
    assert done.code in (2, 125)
    assert message in done.err
    assert "Traceback" not in done.err


def test_job_of_this_machine_is_not_like_one_of_a_cluster(daskjob: Daskjob) -> None:
    daskjob.run("--name", "local", daskjob.script("pass"))
    done = quick(daskjob, "submit", "--like", "local")
    assert done.code == 2
    assert "local is a script's job on this machine" in done.err


def unreachable(daskjob: Daskjob, server: str, context: str = "prod") -> Path:
    path = daskjob.folder / f"{context}.kubeconfig"
    config = {
        "current-context": context,
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def recorded(daskjob: Daskjob, name: str, kubeconfig: str = "", context: str = "prod") -> None:
    """Record a submission of this user."""
    address = ClusterAddress(context, kubeconfig or str(daskjob.folder / "prod.kubeconfig"))
    ref = JobRef(name, "team", f"uid-{name}")
    Records(daskjob.state).add(record_of(job(name), ref, address))


@contextmanager
def silent_server() -> Iterator[str]:
    """A server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_clusters_that_do_not_respond_cost_their_jobs_states_only(daskjob: Daskjob) -> None:
    ThisMachine(daskjob.state, ExitStack()).add(manifest("local"))
    with silent_server() as silent:
        for name, url in (
            ("silent", silent),
            ("refused", "http://127.0.0.1:1"),
            ("unknown", "http://nosuch.invalid"),
        ):
            recorded(daskjob, name, str(unreachable(daskjob, url, name)), name)
        began = time.monotonic()
        done = daskjob("list", "-o", "wide")
        assert time.monotonic() - began < 20
    assert done.code == 0
    rows = [line.split() for line in done.text.splitlines()[1:]]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("unknown", "Unknown", "unknown/team"),
        ("refused", "Unknown", "refused/team"),
        ("silent", "Unknown", "silent/team"),
        ("local", "Succeeded", "machine"),
    ]
    for line, name in zip(done.err.splitlines(), ("unknown", "refused", "silent"), strict=True):
        assert line.startswith(f"daskjob: {name}/team")
        assert line.endswith("the state of its jobs is unknown")
    assert quick(daskjob, "status", "local", "-o", "name").text == "daskjob/local\n"


@pytest.mark.parametrize("gone", ["kubeconfig", "context", "package"])
def test_cluster_that_cannot_be_asked_any_more_is_one_line(daskjob: Daskjob, gone: str) -> None:
    path = unreachable(daskjob, "http://127.0.0.1:1")
    recorded(daskjob, "one")
    if gone == "kubeconfig":
        path.unlink()
    elif gone == "context":
        path.write_text("{}")
    else:
        (daskjob.work / "aiohttp.py").write_text("raise ImportError('none', name='aiohttp')")
        daskjob.variables["PYTHONPATH"] = f"{daskjob.work}:{daskjob.environment['PYTHONPATH']}"
    done = daskjob("list", "-o", "wide")
    assert (done.code, len(done.err.splitlines())) == (0, 1), done.err
    assert done.text.splitlines()[1].split()[:2] == ["one", "Unknown"]
    forgotten = quick(daskjob, "delete", "--forget", "one").text
    assert forgotten == "one is forgotten here; it was submitted to prod/team\n"
    assert quick(daskjob, "list").text == ""


def test_cluster_that_does_not_respond_is_one_line_for_all_its_namespaces(
    daskjob: Daskjob,
) -> None:
    path = unreachable(daskjob, "http://127.0.0.1:1")
    for namespace in ("blue", "red", "green"):
        ref = JobRef(f"in-{namespace}", namespace, f"uid-{namespace}")
        address = ClusterAddress("prod", str(path))
        Records(daskjob.state).add(record_of(job(ref.name), ref, address))
    other = unreachable(daskjob, "http://127.0.0.1:1", "dev")
    recorded(daskjob, "other", str(other), "dev")
    done = quick(daskjob, "list")
    assert len(done.err.splitlines()) == 2, done.err
    assert done.err.splitlines()[0].startswith("daskjob: dev/team ")
    assert done.err.splitlines()[1].startswith("daskjob: prod (namespaces blue, green, red) ")


@pytest.mark.parametrize("command", ["status", "logs", "retry", "cancel"])
def test_renamed_context_is_an_error_with_what_to_do(daskjob: Daskjob, command: str) -> None:
    path = unreachable(daskjob, "http://127.0.0.1:1")
    recorded(daskjob, "one")
    path.write_text(path.read_text().replace("prod", "production"))
    done = quick(daskjob, command, "one")
    assert done.code == 125
    (line,) = done.err.splitlines()
    assert "context 'prod', which the kubeconfig does not have any more" in line
    assert "existing contexts: production" in line
    assert f"daskjob {command} -n team --context NAME one" in line
    assert "daskjob delete --forget one" in line
    assert "existing contexts: production" in quick(daskjob, "list").err


def test_list_for_programs_has_the_place_of_each_job(daskjob: Daskjob) -> None:
    ThisMachine(daskjob.state, ExitStack()).add(manifest("local"))
    unreachable(daskjob, "http://127.0.0.1:1")
    recorded(daskjob, "one")
    records = Records(daskjob.state)
    records.note_status(records.of("one")[0], SUCCEEDED)
    found = {
        item["metadata"]["name"]: item["where"]
        for item in quick(daskjob, "list", "-o", "json").object()["items"]
    }
    assert found["one"] == {"place": "cluster", "context": "prod", "namespace": "team"}
    assert found["local"]["place"] == "this machine"
    assert found["local"]["context"] == ""


def test_jobs_of_two_places_and_attempts_are_compared(user_there: Submitter) -> None:
    there = user_there
    there.submit("sums", "-e", "MODE=fast", "-e", "API_KEY=hunter2")
    done = there("submit", "--like", "sums", "--memory", "1Gi", "-e", "MODE=slow", "-o", "json")
    assert done.code == 2
    assert "--memory-limit cannot be set" in done.err
    changes = ("-w", 3, "-e", "MODE=slow", "-e", "API_KEY=other", "--image", "new")
    other = there("submit", "--like", "sums", *changes, "-o", "json").object()["metadata"]["name"]
    attempt = {"endTime": "2026-01-01T00:00:00Z", "reason": "ExitCode", "message": "no data"}
    attempts = [{**attempt, "number": n, "exitCode": n + 3} for n in range(2)]
    there.end("sums", {**FAILED, "attempts": attempts})
    where = there.records.of("sums")[0].where
    expected = [
        f"sums ({where}) → {other} ({where})",
        "  image of all pods: none → new",
        "  spec worker replicas: 1 → 3",
        "  env runner, worker MODE: fast → slow",
        "  env runner, worker API_KEY: a secret value → another one",
    ]
    assert there("diff", "sums", other).text.splitlines()[:5] == expected
    items = there("diff", "sums", other, "-o", "json").object()["differences"]
    assert {"topic": "spec", "what": "worker replicas", "before": 1, "after": 3} in items
    assert there("diff", "sums", "sums").text.splitlines()[1:] == ["  no differences"]
    assert "  result exit code: 3 → 4\n" in there("diff", "sums", "--attempts", 0, 1).text
    assert "hunter2" not in there("diff", "sums", other, "-o", "yaml").text
    # From its record, with its end, which this command has seen.
    there.remove("sums")
    found = there("diff", "sums", other).text
    assert "  env runner, worker MODE: fast → slow\n" in found
    assert "  result reason: ExitCode → none\n" in found
    assert "API_KEY" not in found
    ThisMachine(there.daskjob.state, ExitStack()).add(manifest("local"))
    assert f"local (this machine) → {other} ({where})" in there("diff", "local", other).text
    for wrong, code, message in (
        (("sums",), 2, "name two jobs, or one job and two attempts"),
        (("sums", other, "--attempts", 0, 1), 2, "name two jobs, or one job and two attempts"),
        (("sums", "--attempts", 0, 7), 125, "no ended attempt 7; ended attempts: 0, 1"),
        (("sums", "nosuch"), 125, "no job 'nosuch' was started here"),
    ):
        done = there("diff", *wrong)
        assert (done.code, done.text) == (code, "")
        assert message in done.err
