"""The examples are correct: manifests contain the scripts, scripts compute the right numbers.

The scripts run here as plain Python, each with its own local cluster. Their output and their result
are compared with a serial computation over the same files.
"""

from __future__ import annotations

import ast
import csv
import importlib.util
import json
import lzma
import os
import re
import signal
import statistics
import subprocess
import sys
import sysconfig
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"
CENSUS = EXAMPLES / "stdlib_census" / "census.py"
AIRPORTS = EXAMPLES / "dataframe" / "airports.py"
COMPRESS = EXAMPLES / "checkpoint" / "compress.py"
SCRIPTS = [CENSUS, AIRPORTS, COMPRESS]
#: A script without a manifest, since the jobs of a sweep differ in their arguments.
INTEGRATE = EXAMPLES / "sweep" / "integrate.py"
#: Run by ``tests/orchestrators``, with their orchestrators.
NIGHTLY = [EXAMPLES / name / "nightly.py" for name in ("airflow", "prefect")]
MANIFESTS = sorted(EXAMPLES.rglob("*.yaml"))
STDLIB = Path(sysconfig.get_path("stdlib"))

#: The size limit of `status.result`.
RESULT_LIMIT_BYTES = 4096
#: The size limit of `spec.job.files` with a client-side `kubectl apply`.
APPLY_LIMIT_BYTES = 250 * 1024


# Manifests


def documents(manifest: Path) -> list[dict[str, Any]]:
    """All objects of a YAML file."""
    return list(yaml.safe_load_all(manifest.read_text(encoding="utf-8")))


def job_of(script: Path) -> dict[str, Any]:
    """The DaskJob in the manifest of a script."""
    (job,) = documents(script.with_name("job.yaml"))
    return job


def pod_specs(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The three pod templates of a job."""
    cluster = job["spec"]["cluster"]["spec"]
    return {
        "runner": job["spec"]["job"]["spec"],
        "worker": cluster["worker"]["spec"],
        "scheduler": cluster["scheduler"]["spec"],
    }


def by_name(path: Path) -> str:
    """A readable test id."""
    return path.relative_to(EXAMPLES).as_posix()


@pytest.mark.parametrize("script", SCRIPTS, ids=by_name)
def test_manifest_carries_the_script_byte_for_byte(script: Path) -> None:
    files = job_of(script)["spec"]["job"]["files"]
    assert list(files) == [script.name]
    assert files[script.name].encode() == script.read_bytes()
    assert len(script.read_bytes()) < APPLY_LIMIT_BYTES


@pytest.mark.parametrize("manifest", MANIFESTS, ids=by_name)
def test_every_object_has_a_kind_and_a_name(manifest: Path) -> None:
    objects = documents(manifest)
    assert objects
    for found in objects:
        assert found["apiVersion"]
        assert found["kind"] in {"DaskJob", "PersistentVolumeClaim"}
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", found["metadata"]["name"])


@pytest.mark.parametrize("manifest", [*(s.with_name("job.yaml") for s in SCRIPTS)], ids=by_name)
def test_every_pod_meets_pod_security_restricted(manifest: Path) -> None:
    (job,) = documents(manifest)
    for spec in pod_specs(job).values():
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }


@pytest.mark.parametrize(
    "manifest",
    [EXAMPLES / "daskjob_minimal.yaml", *(s.with_name("job.yaml") for s in SCRIPTS)],
    ids=by_name,
)
def test_job_has_the_documented_shape(manifest: Path) -> None:
    (job,) = documents(manifest)
    assert (job["apiVersion"], job["kind"]) == ("kubernetes.dask.org/v1", "DaskJob")
    pods = pod_specs(job)
    (runner,) = pods["runner"]["containers"]
    (worker,) = pods["worker"]["containers"]
    (scheduler,) = pods["scheduler"]["containers"]
    assert runner["name"] == "job-runner"
    assert worker["args"][:4] == ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"]
    assert scheduler["args"] == ["dask", "scheduler"]
    ports = {port["name"]: port["containerPort"] for port in scheduler["ports"]}
    assert ports == {"tcp-comm": 8786, "http-dashboard": 8787}
    for container in (runner, worker, scheduler):
        assert all(isinstance(argument, str) for argument in container["args"])
        assert container["image"] == "ghcr.io/dask/dask:latest"


@pytest.mark.parametrize("script", SCRIPTS, ids=by_name)
def test_runner_starts_the_mounted_script_with_arguments_it_accepts(
    script: Path, tmp_path: Path
) -> None:
    (runner,) = job_of(script)["spec"]["job"]["spec"]["containers"]
    assert runner["args"][:2] == ["python", f"/daskjob/files/{script.name}"]
    asked = run(script, "--help", cwd=tmp_path)
    options = [argument for argument in runner["args"][2:] if argument.startswith("--")]
    assert all(option in asked.stdout for option in options)


def test_checkpoint_manifest_mounts_the_claim_beside_it() -> None:
    (claim,) = documents(COMPRESS.with_name("volume.yaml"))
    spec = job_of(COMPRESS)["spec"]["job"]["spec"]
    (volume,) = spec["volumes"]
    (mount,) = spec["containers"][0]["volumeMounts"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert mount["name"] == volume["name"]
    assert f"{mount['mountPath']}/$(DASKJOB_UID)" in spec["containers"][0]["args"]


def test_readme_names_every_example_and_nothing_else() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    named = {EXAMPLES.parent / path for path in re.findall(r"examples/[\w/]+\.(?:py|yaml)", text)}
    assert named == {*SCRIPTS, INTEGRATE, *NIGHTLY, *MANIFESTS}
    assert all(path.is_file() for path in named)


# Pipelines


def test_github_workflow_runs_the_script_of_the_pipeline() -> None:
    text = (EXAMPLES / "ci" / "github-workflow.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    # YAML 1.1 reads the key "on" as true.
    assert set(workflow) == {"name", True, "jobs"}
    (job,) = workflow["jobs"].values()
    assert job["runs-on"]
    *prepared, last = job["steps"]
    assert all("uses" in step or step["run"].startswith("pip install") for step in prepared)
    check_pipeline(last["run"], last["env"])


def test_gitlab_job_runs_the_script_of_the_pipeline_and_retries_the_clusters_failures() -> None:
    text = (EXAMPLES / "ci" / "gitlab-ci.yml").read_text(encoding="utf-8")
    (job,) = yaml.safe_load(text).values()
    assert job["image"]
    check_pipeline("\n".join(job["script"]), job["variables"])
    assert job["retry"] == {"max": 1, "exit_codes": 121}


def check_pipeline(script: str, variables: dict[str, str]) -> None:
    """Check that a pipeline's lines are shell and set what the script of the pipeline needs."""
    subprocess.run(["sh", "-n"], input=script.encode(), check=True)
    assert "examples/ci/pipeline.sh --workers" in script
    needed = set(re.findall(r"\$([A-Z]+)", (EXAMPLES / "ci" / "pipeline.sh").read_text()))
    assert needed - {"DASKJOB"} <= set(variables)


@pytest.mark.parametrize("script", sorted(EXAMPLES.rglob("*.sh")), ids=by_name)
def test_shell_script_is_executable_and_parses(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", str(script)], check=True)


# Scripts


@dataclass(frozen=True)
class Run:
    """One run of a script: its exit code, output and result."""

    code: int
    stdout: str
    stderr: str
    result: dict[str, Any] | None


def run(script: Path, *arguments: str, cwd: Path, **environment: str) -> Run:
    """Run a script as plain Python, isolated from any cluster that this process may know."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("DASK")}
    place = cwd / "result.json"
    ended = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=cwd,
        env={**inherited, "DASKJOB_RESULT_FILE": str(place), **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    result = json.loads(place.read_bytes()) if place.exists() else None
    return Run(ended.returncode, ended.stdout, ended.stderr, result)


def module_of(script: Path) -> ModuleType:
    """A script as a module, to call its functions; its `main` does not run."""
    spec = importlib.util.spec_from_file_location(f"example_{script.stem}", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def library_files(*, left_out: set[str]) -> list[Path]:
    """The library's files by an independent walk, sorted by their path components."""
    found = []
    for folder, folders, files in os.walk(STDLIB):
        folders[:] = [name for name in folders if name not in left_out]
        found += [Path(folder, file) for file in files if file.endswith(".py")]
    return found


def row(text: str, first: str) -> list[str]:
    """The cells of a printed table's row that begins with this word."""
    (line,) = [line for line in text.splitlines() if re.match(rf"{re.escape(first)}\s", line)]
    return re.split(r"\s{2,}", line.strip())


class SerialCensus:
    """An independent implementation of the census: a recursion with a stack of open functions."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self.complexities: list[int] = []
        self.open: list[int] = []

    def visit(self, node: ast.AST) -> None:
        """Count a node and everything below it."""
        self.count_name(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self.visit_function(node)
            return
        if self.open:
            self.open[-1] += self.extra(node)
        for child in ast.iter_child_nodes(node):
            self.visit(child)

    def visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Count a function: only its body, without decorators, defaults and annotations."""
        outside = [child for child in ast.iter_child_nodes(node) if child not in node.body]
        held, self.open = self.open, []
        for child in outside:
            self.visit(child)
        self.open = [*held, 1]
        for statement in node.body:
            self.visit(statement)
        self.complexities.append(self.open.pop())

    def count_name(self, node: ast.AST) -> None:
        """Count the name of a node, whatever field its kind of node has it in."""
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                self.names[name] += 1
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self.names[name] += 1
            case ast.ClassDef(name=name):
                self.names[name] += 1

    @staticmethod
    def extra(node: ast.AST) -> int:
        """The paths that one node adds."""
        match node:
            case ast.If() | ast.IfExp() | ast.For() | ast.AsyncFor() | ast.While():
                return 1
            case ast.ExceptHandler() | ast.match_case():
                return 1
            case ast.BoolOp(values=[_, *further]):
                return len(further)
            case ast.comprehension(ifs=conditions):
                return 1 + len(conditions)
            case _:
                return 0


def test_census_counts_what_a_serial_census_counts(tmp_path: Path) -> None:
    files = sorted(library_files(left_out={"site-packages", "dist-packages"}))[:150]
    serial = SerialCensus()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Old spellings in the library's sources.
        for file in files:
            serial.visit(ast.parse(file.read_bytes()))

    ended = run(CENSUS, "--limit", "150", "--top", "4", cwd=tmp_path)

    assert ended.code == 0, ended.stderr
    assert ended.result is not None
    assert len(json.dumps(ended.result)) <= RESULT_LIMIT_BYTES
    assert ended.result["files"] == 150
    assert ended.result["unparsed"] == 0
    assert ended.result["lines"] == sum(len(file.read_bytes().splitlines()) for file in files)
    assert ended.result["functions"] == len(serial.complexities)
    assert ended.result["differentNames"] == len(serial.names)
    ranked = sorted(serial.names.items(), key=lambda item: (-item[1], item[0]))
    assert list(ended.result["topNames"].items()) == ranked[:10]
    found = [function["complexity"] for function in ended.result["mostComplex"]]
    assert found == sorted(serial.complexities, reverse=True)[:10]
    assert row(ended.stdout, "self") == ["self", str(serial.names["self"])]


def test_census_places_lead_to_the_functions(tmp_path: Path) -> None:
    ended = run(CENSUS, "--limit", "40", cwd=tmp_path)
    assert ended.result is not None
    for function in ended.result["mostComplex"]:
        file, line = function["place"].rsplit(":", maxsplit=1)
        text = (STDLIB / file).read_text(encoding="utf-8").split("\n")[int(line) - 1]
        assert f"def {function['function'].rsplit('.')[-1]}(" in text


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pass", 1),
        ("if a: pass", 2),
        ("if a: pass\n elif b: pass\n else: pass", 3),
        ("return a and b and c", 3),
        ("return [x for x in y if x if z]", 4),
        ("for x in y:\n  while x: pass", 3),
        ("try: pass\n except A: pass\n except B: pass", 3),
        ("def inner():\n  if a: pass", 1),
        ("return a if b else lambda: c or d", 3),
        ("match a:\n  case 1: pass\n  case _: pass", 3),
    ],
)
def test_complexity_is_one_and_one_more_for_every_branch(body: str, expected: int) -> None:
    (function,) = ast.parse(f"def f():\n {body}").body
    assert module_of(CENSUS).complexity(function) == expected


def test_census_counts_a_file_that_is_not_python(tmp_path: Path) -> None:
    census = module_of(CENSUS)
    broken = {"syntax.py": b"print 1", "null.py": b"a = 1\0", "coding.py": b"# coding: nonsense"}
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "fine.py").write_bytes(b"def f(x): return x")

    files = census.source_files(tmp_path, with_tests=True)
    counted = census.merged([census.census_of_file(file, root=tmp_path) for file in files], top=10)

    assert counted.files == 4
    assert counted.unparsed == ("coding.py", "null.py", "syntax.py")
    assert counted.names == {"f": 1, "x": 2}


def airport_rows() -> Iterator[dict[str, str]]:
    """The rows of the package's table, read without pandas."""
    package = pytest.importorskip("airportsdata")
    with (Path(package.__file__).parent / "airports.csv").open(encoding="utf-8") as file:
        yield from csv.DictReader(file)


def test_airports_are_summarised_correctly(tmp_path: Path) -> None:
    by_country: dict[str, list[dict[str, str]]] = defaultdict(list)
    for airport in airport_rows():
        by_country[airport["country"]].append(airport)

    ended = run(AIRPORTS, "--top", "300", cwd=tmp_path)

    assert ended.code == 0, ended.stderr
    assert ended.result is not None
    assert len(json.dumps(ended.result)) <= RESULT_LIMIT_BYTES
    assert ended.result["airports"] == sum(map(len, by_country.values()))
    assert ended.result["countries"] == len(by_country)
    ranked = sorted(by_country, key=lambda country: (-len(by_country[country]), country))
    assert [found["country"] for found in ended.result["largest"]] == ranked[:10]
    for found in ended.result["largest"]:
        airports = by_country[found["country"]]
        heights = [h * 0.3048 for a in airports if (h := float(a["elevation"]))]
        ninth = statistics.quantiles(heights, n=10, method="inclusive")[8]
        assert found["airports"] == len(airports)
        assert found["with_iata"] == sum(a["iata"] != "" for a in airports)
        assert found["time_zones"] == len({a["tz"] for a in airports})
        assert found["median_m"] == pytest.approx(statistics.median(heights), abs=0.051)
        assert found["p90_m"] == pytest.approx(ninth, abs=0.051)
    assert row(ended.stdout, "Namibia")[1] == str(len(by_country["NA"]))
    assert row(ended.stdout, "XK")[1] == str(len(by_country["XK"]))


def test_airports_report_what_to_install_if_the_data_is_missing(tmp_path: Path) -> None:
    hidden = "raise ModuleNotFoundError(\"No module named 'airportsdata'\", name='airportsdata')"
    (tmp_path / "airportsdata.py").write_text(hidden, encoding="utf-8")
    ended = run(AIRPORTS, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert ended.code == 1
    assert ended.stderr.strip() == "airportsdata is missing: pip install airportsdata"
    assert ended.stdout == ""


def serial_sizes(limit: int) -> tuple[list[Path], dict[str, int]]:
    """The files that the checkpoint example reads, and their sizes by package."""
    left_out = {"site-packages", "dist-packages", "test", "tests", "idle_test"}
    files = sorted(
        library_files(left_out=left_out), key=lambda file: file.relative_to(STDLIB).as_posix()
    )[:limit]
    sizes: dict[str, int] = defaultdict(int)
    for file in files:
        sizes[file.relative_to(STDLIB).parts[0]] += file.stat().st_size
    return files, sizes


def test_killed_attempt_is_continued_from_its_checkpoint(tmp_path: Path) -> None:
    arguments = (
        "--checkpoint",
        "saved",
        "--limit",
        "60",
        "--chunks",
        "9",
        "--fail-on-attempt",
        "0",
    )

    first = run(COMPRESS, *arguments, cwd=tmp_path)
    assert first.code == -signal.SIGKILL
    assert "attempt 0: 0 of 9 chunks are done" in first.stdout
    assert first.result is None
    saved = {file: file.stat().st_mtime_ns for file in tmp_path.glob("saved/*/*.json")}
    assert len(saved) == 4
    assert not list(tmp_path.glob("saved/*/*.tmp"))

    second = run(COMPRESS, *arguments, cwd=tmp_path, DASKJOB_ATTEMPT="1")
    assert second.code == 0, second.stderr
    assert second.result is not None
    assert second.result["attempt"] == 1
    assert second.result["chunks"] == {"computed": 5, "fromCheckpoint": 4}
    assert {file: file.stat().st_mtime_ns for file in saved} == saved

    files, sizes = serial_sizes(60)
    contents = [file.read_bytes() for file in files]
    assert second.result["total"] == {
        "files": 60,
        "lines": sum(len(content.splitlines()) for content in contents),
        "size_bytes": sum(map(len, contents)),
        "compressed_bytes": sum(len(lzma.compress(content)) for content in contents),
    }
    ranked = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    assert list(second.result["largest"].items()) == ranked[:10]
    assert row(second.stdout, "all")[1] == "60"


def test_finished_checkpoint_needs_no_cluster_and_gives_the_same_result(tmp_path: Path) -> None:
    arguments = ("--checkpoint", "saved", "--limit", "10", "--chunks", "3")
    first = run(COMPRESS, *arguments, cwd=tmp_path)
    unreachable = {"DASK_SCHEDULER_ADDRESS": "tcp://127.0.0.1:1"}
    again = run(COMPRESS, *arguments, cwd=tmp_path, **unreachable)
    assert first.result is not None
    assert again.result is not None
    assert first.result["chunks"] == {"computed": 3, "fromCheckpoint": 0}
    assert again.result["chunks"] == {"computed": 0, "fromCheckpoint": 3}
    assert again.result["total"] == first.result["total"]


def test_checkpoint_of_another_plan_is_not_used(tmp_path: Path) -> None:
    compress = module_of(COMPRESS)
    (tmp_path / "a.py").write_text("a = 1\n")
    plan = [["a.py"]]
    compress.Checkpoint(tmp_path / "saved", plan, tmp_path).save(
        0, compress.measure_chunk(plan[0], tmp_path)
    )
    assert list(compress.Checkpoint(tmp_path / "saved", plan, tmp_path).load()) == [0]
    (tmp_path / "a.py").write_text("a = 1000\n")
    assert compress.Checkpoint(tmp_path / "saved", plan, tmp_path).load() == {}


@pytest.mark.parametrize("script", SCRIPTS, ids=by_name)
def test_a_wrong_argument_ends_with_usage(script: Path, tmp_path: Path) -> None:
    ended = run(script, "--top", "0", cwd=tmp_path)
    assert ended.code == 2
    assert "0 is not at least 1" in ended.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=by_name)
def test_without_daskjob_no_result_is_written(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DASKJOB_RESULT_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    module_of(script).write_result({"files": 1})
    assert list(tmp_path.iterdir()) == []
