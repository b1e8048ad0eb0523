"""``daskjob submit`` up to what sends the job: what it would send, and what it prints."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from daskjob.core.names import ANNOTATION_SCRIPT
from daskjob.core.spec import DaskJob, parse
from daskjob.submit.cli.submit import submit_command_of
from daskjob.submit.cluster_job.submission import Submission
from daskjob.submit.jobs import JobRef
from tests.cli.command import job


@dataclass
class Sent:
    """What was sent."""

    submissions: list[Submission] = field(default_factory=list)

    def __call__(self, submission: Submission) -> JobRef:
        self.submissions.append(submission)
        return JobRef(submission.manifest["metadata"]["name"], "default", "uid")

    def command(self, *words: object, stdin: str = "") -> Result:
        command = submit_command_of(self)
        return CliRunner().invoke(command, [str(word) for word in words], input=stdin)


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
    (submission,) = sent.submissions
    found = parse(DaskJob, submission.manifest)
    assert done.stdout == f"daskjob/{found.meta.name} submitted\n"
    is_script = ANNOTATION_SCRIPT in found.meta.annotations
    assert is_script == ("job.json" not in words)


def test_token_and_context_reach_what_sends(sent: Sent) -> None:
    sent.command("--token", "t", "--context", "c", "-n", "team", "a.py")
    (submission,) = sent.submissions
    settings = submission.merged.settings
    assert (settings.token, settings.context) == ("t", "c")
    assert submission.manifest["spec"]["submissionID"] == "t"
    assert submission.manifest["metadata"]["namespace"] == "team"


def test_script_that_is_submitted_twice_is_two_jobs_and_one_with_a_token(sent: Sent) -> None:
    for words in ([], [], ["--token", "t"], ["--token", "t"], ["--name", "sums"]):
        assert sent.command(*words, "a.py").exit_code == 0
    jobs = [submission.manifest for submission in sent.submissions]
    names = [found["metadata"]["name"] for found in jobs]
    tokens = [found["spec"]["submissionID"] for found in jobs]
    assert names[0] != names[1]
    assert tokens[0] != tokens[1]
    assert names[2] == names[3]
    assert (names[4], tokens[2]) == ("sums", "t")


def test_manifest_keeps_its_name_unless_a_token_is_given(sent: Sent) -> None:
    sent.command("job.json")
    sent.command("--token", "t", "job.json")
    names = [submission.manifest["metadata"]["name"] for submission in sent.submissions]
    assert names[0] == "sums"
    assert names[1].startswith("sums-")


def test_variables_of_a_file_reach_what_sends_as_a_secret(sent: Sent) -> None:
    Path(".env").write_text("A=hunter2")
    done = sent.command("--env-file", ".env", "-o", "yaml", "a.py")
    (submission,) = sent.submissions
    assert submission.env_secret is not None
    assert list(submission.env_secret["data"]) == ["A"]
    assert "hunter2" not in done.output


@pytest.mark.parametrize("output", ["yaml", "json", "name", None])
def test_dry_run_sends_nothing_and_prints_what_would_be_sent(
    sent: Sent, output: str | None
) -> None:
    options = ["-o", output] if output else []
    done = sent.command("--dry-run=client", *options, "a.py")
    assert done.exit_code == 0, done.output
    assert sent.submissions == []
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
        (["--dry-run=later", "a.py"], "'later' is not 'client'"),
        (["--memory", "4", "a.py"], "did you mean 4Gi?"),
        (["--mount", "pvc:d:/v", "-f", "two.yaml"], "has a ConfigMap beside the DaskJob"),
    ],
)
def test_mistake_sends_nothing_and_exits_with_2(sent: Sent, words: list[str], message: str) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    Path("two.yaml").write_text(yaml.safe_dump_all([job("pass", name="sums"), config]))
    done = sent.command(*words)
    assert done.exit_code == 2
    assert message in done.output
    assert sent.submissions == []
