"""``daskjob submit`` up to what sends the job: what it would send, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from daskjob.core.manifests import Manifest
from daskjob.core.names import ANNOTATION_SCRIPT
from daskjob.core.spec import DaskJob, parse
from daskjob.submit.cli.cluster_place import ClusterPlace
from daskjob.submit.cli.submit import submit_command_of
from daskjob.submit.jobs import JobRef
from tests.cli.command import job
from tests.submit.in_memory_jobs import InMemoryJobs
from tests.submit.places import FAILED, SUCCEEDED

CANCELLED: Manifest = {**FAILED, "phase": "Cancelled", "reason": "Cancelled"}


class Sent(InMemoryJobs):
    """A cluster that keeps what is sent to it."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[str] = []
        self.manifests: list[Manifest] = []
        self.owned: list[Manifest] = []
        self.checked: list[Manifest] = []

    def submit(
        self, job: Manifest, *, token: str | None = None, owned: Sequence[Manifest] = ()
    ) -> JobRef:
        del token  # the command writes it into the manifest
        self.manifests.append(job)
        self.owned += owned
        named = {"namespace": "default", **job["metadata"], "uid": f"uid-{len(self.manifests)}"}
        return self.add({**job, "metadata": named, "status": self.ends}, logs=self.log)

    def run_again(self, job: Manifest, *, token: str | None = None) -> JobRef:
        raise NotImplementedError

    def code_for(self, new: Manifest, old: Manifest) -> list[Manifest]:
        raise NotImplementedError

    def dry_run(self, job: Manifest) -> Manifest:
        self.checked.append(job)
        return job

    ends: Manifest = SUCCEEDED
    log: ClassVar[dict[str, bytes]] = {"sums-runner": b"one\ntwo"}

    def connect(self, context: click.Context, place: ClusterPlace) -> Sent:
        del context
        self.contexts.append(place.context)
        return self

    def command(self, *words: object, stdin: str = "") -> Result:
        command = submit_command_of(self.connect)
        texts = [str(word) for word in words]
        return CliRunner().invoke(command, texts, input=stdin, standalone_mode=False)

    def fails(self, *words: object) -> str:
        """The message of wrong usage."""
        error = self.command(*words).exception
        assert isinstance(error, click.UsageError)
        return error.message


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sent:
    monkeypatch.chdir(tmp_path)
    for variable in ("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "a.py").write_text("import b")
    (tmp_path / "b.py").write_text("x = 1")
    (tmp_path / "job.json").write_text(json.dumps(job("pass", name="sums", workers=2)))
    return Sent()


@pytest.mark.parametrize(
    "words",
    [
        ["a.py", "--x", "1"],
        ["-m", "a"],
        ["-ma"],
        ["--module=a", "-x"],
        ["-f", "job.json"],
        ["job.json"],
        ["--workers", "3", "--token", "t", "--context", "c", "a.py"],
    ],
)
def test_submission_is_sent_once_and_its_name_is_printed(sent: Sent, words: list[str]) -> None:
    done = sent.command(*words)
    assert done.exit_code == 0, done.output
    (manifest,) = sent.manifests
    found = parse(DaskJob, manifest)
    assert done.stdout == f"daskjob/{found.meta.name} submitted\n"
    is_script = ANNOTATION_SCRIPT in found.meta.annotations
    assert is_script == ("job.json" not in words)


def test_token_and_context_reach_what_sends(sent: Sent) -> None:
    sent.command("--token", "t", "--context", "c", "-n", "team", "a.py")
    (manifest,) = sent.manifests
    assert sent.contexts == ["c"]
    assert manifest["spec"]["submissionID"] == "t"
    assert manifest["metadata"]["namespace"] == "team"


def test_script_that_is_submitted_twice_is_two_jobs_and_one_with_a_token(sent: Sent) -> None:
    for words in ([], [], ["--token", "t"], ["--token", "t"], ["--name", "sums"]):
        assert sent.command(*words, "a.py").exit_code == 0
    jobs = sent.manifests
    names = [found["metadata"]["name"] for found in jobs]
    tokens = [found["spec"]["submissionID"] for found in jobs]
    assert names[0] != names[1]
    assert tokens[0] != tokens[1]
    assert names[2] == names[3]
    assert (names[4], tokens[2]) == ("sums", "t")


def test_manifest_keeps_its_name_unless_a_token_is_given(sent: Sent) -> None:
    sent.command("job.json")
    sent.command("--token", "t", "job.json")
    names = [manifest["metadata"]["name"] for manifest in sent.manifests]
    assert names[0] == "sums"
    assert names[1].startswith("sums-")


def test_variables_of_a_file_reach_what_sends_as_a_secret(sent: Sent) -> None:
    Path(".env").write_text("A=hunter2")
    done = sent.command("--env-file", ".env", "-o", "yaml", "a.py")
    (secret,) = sent.owned
    assert list(secret["data"]) == ["A"]
    assert "hunter2" not in done.output


@pytest.mark.parametrize("output", ["yaml", "json", "name", None])
def test_dry_run_sends_nothing_and_prints_what_would_be_sent(
    sent: Sent, output: str | None
) -> None:
    options = ["-o", output] if output else []
    done = sent.command("--dry-run=client", *options, "a.py")
    assert done.exit_code == 0, done.output
    assert sent.manifests == []
    if output in ("yaml", "json"):
        found = parse(DaskJob, yaml.safe_load(done.stdout))
        assert sorted(found.files) == ["a.py", "b.py"]
    else:
        assert done.stdout.startswith("daskjob/a-")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a script, -m MODULE, or a manifest: -f job.yaml"),
        (["-f", "job.json", "x"], "a manifest takes no arguments: x"),
        (["job.json", "--y"], "a manifest takes no arguments: --y"),
        (["c.py"], "there is no file 'c.py'"),
        (["--dry-run=later", "a.py"], "'later' is not one of 'client', 'server'"),
        (["--timeout", "3s", "a.py"], "the longest time of the job is --deadline"),
        (["--wait", "--dry-run=server", "a.py"], "--dry-run starts no job"),
        (["--wait", "--dry-run=client", "a.py"], "--dry-run starts no job"),
        (["--memory", "4", "a.py"], "did you mean 4Gi?"),
        (["--mount", "pvc:d:/v", "-f", "two.yaml"], "has a ConfigMap beside the DaskJob"),
    ],
)
def test_mistake_sends_nothing_and_exits_with_2(sent: Sent, words: list[str], message: str) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    Path("two.yaml").write_text(yaml.safe_dump_all([job("pass", name="sums"), config]))
    assert message in sent.fails(*words)
    assert sent.manifests == []
    assert sent.contexts == []


def test_dry_run_of_the_server_prints_what_it_would_store(sent: Sent) -> None:
    done = sent.command("--dry-run=server", "-o", "json", "job.json")
    assert json.loads(done.stdout) == sent.checked[0]
    assert sent.manifests == []
    assert sent.command("--dry-run=server", "job.json").stdout == (
        "daskjob/sums submitted (server dry run)\n"
    )


def test_next_command_names_the_place_of_the_job(sent: Sent) -> None:
    done = sent.command("job.json")
    where = "-n default sums"
    text = f"for its output: daskjob logs -f {where}; if it waits: daskjob why {where}"
    assert done.stderr == f"daskjob: {text}\n"
    done = sent.command("-n", "team", "--context", "c", "--detach", "job.json")
    assert done.stderr.endswith("; if it waits: daskjob why -n team --context c sums\n")


@pytest.mark.parametrize(("ends", "code"), [(SUCCEEDED, 0), (FAILED, 3), (CANCELLED, 123)])
def test_wait_prints_the_log_and_returns_the_exit_code_of_the_job(
    sent: Sent, ends: Manifest, code: int
) -> None:
    sent.ends = ends
    done = sent.command("--wait", "-n", "team", "job.json")
    assert (done.return_value, done.stdout) == (code, "one\ntwo")
    assert "daskjob status -n team sums" in done.stderr
    if code:
        assert "daskjob why -n team sums, daskjob logs -n team sums" in done.stderr


def test_wait_with_an_output_format_prints_the_ended_job(sent: Sent) -> None:
    done = sent.command("--wait", "-o", "json", "job.json")
    assert json.loads(done.stdout)["status"] == SUCCEEDED
    assert "one\ntwo" in done.stderr


def test_interrupted_submission_names_the_command_that_cancels_it(
    sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> JobRef:
        raise KeyboardInterrupt

    monkeypatch.setattr(sent, "submit", interrupted)
    done = sent.command("--context", "c", "-n", "team", "job.json")
    assert isinstance(done.exception, click.Abort)
    assert "daskjob cancel --context c -n team sums\n" in done.stderr
