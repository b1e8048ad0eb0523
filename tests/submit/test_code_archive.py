"""The archive of a job's code: the same for the same files, within its limits, in ConfigMaps."""

from __future__ import annotations

import base64
import io
import os
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from daskjob.submit.cluster_job import archive
from daskjob.submit.cluster_job.archive import Archive, UnfitCode, packed

FILES = {
    "train.py": b"import lib\n",
    "src/lib/__init__.py": b"",
    "data/größe.bin": bytes(range(256)),
    "-rf * \n.py": b"x = 1\n",
    "/".join(["d" * 90] * 4) + ".py": b"",
}


def unpacked(parts: list[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(b"".join(parts)), mode="r:xz")


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_archive_has_every_file_and_nothing_of_this_machine() -> None:
    made = packed(FILES, programs=["train.py"])
    with unpacked(made.parts) as tar:
        members = tar.getmembers()
        found = {m.name: file.read() for m in members if (file := tar.extractfile(m))}
    assert found == FILES
    assert [m.name for m in members] == sorted(FILES)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert {m.name for m in members if m.mode & 0o111} == {"train.py"}


def test_same_files_make_the_same_archive_in_any_order_and_process() -> None:
    made = packed(FILES)
    assert packed(dict(reversed(FILES.items()))).data == made.data
    program = (
        "import sys; from daskjob.submit.cluster_job.archive import packed;"
        f"sys.stdout.buffer.write(packed({FILES!r}).data)"
    )
    environ = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    other = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, check=True
    )
    assert other.stdout == made.data
    assert packed({**FILES, "train.py": b"import lib "}).digest != made.digest
    assert packed(FILES, programs=["train.py"]).digest != made.digest


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a part have 16 KiB: noise takes long to compress."""
    monkeypatch.setattr(archive, "PART_BYTES", 16 * 1024)
    monkeypatch.setattr(archive, "MOST_BYTES", 8 * 16 * 1024)


def test_a_part_is_what_a_config_map_holds() -> None:
    assert (archive.PART_BYTES, archive.MOST_BYTES) == (2**20, 2**23)


@pytest.mark.usefixtures("small_parts")
def test_config_maps_are_named_by_job_and_content_and_hold_the_parts_in_order() -> None:
    made = packed({"noise": noise(2 * archive.PART_BYTES + 5)})
    maps = made.config_maps("sums-1")
    names = [f"sums-1-code-{made.digest}-{number}" for number in range(3)]
    assert [item["metadata"]["name"] for item in maps] == names == made.names("sums-1")
    assert all(item["immutable"] and item["kind"] == "ConfigMap" for item in maps)
    assert {item["metadata"]["labels"]["dask.org/cluster-name"] for item in maps} == {"sums-1"}
    parts = [base64.b64decode(item["binaryData"]["part"]) for item in maps]
    assert max(map(len, parts)) == archive.PART_BYTES
    with unpacked(parts) as tar:
        assert tar.getnames() == ["noise"]


@pytest.mark.usefixtures("small_parts")
def test_eight_parts_are_the_limit_and_the_message_has_numbers_and_alternatives() -> None:
    most = archive.MOST_BYTES - 1024
    assert len(packed({"a": noise(most)}).parts) == 8
    files = {"small.py": b"x" * 3000, "model.bin": noise(archive.MOST_BYTES + 1)}
    with pytest.raises(UnfitCode) as caught:
        packed(files)
    assert "2 files have 130 KiB, 128 KiB compressed, and a job carries up to 128 KiB" in str(
        caught.value
    )
    assert "compressed; the largest: model.bin 128 KiB, small.py 2 KiB." in str(caught.value)
    for way in (".daskjobignore", "--code git+", "--code pvc:", "--code image:", "--mount pvc:"):
        assert way in str(caught.value)


def test_files_that_cannot_be_code_are_rejected_before_they_are_compressed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object) -> bytes:
        raise AssertionError("compressed")

    monkeypatch.setattr(archive, "_compressed", never)
    monkeypatch.setattr(archive, "MOST_UNPACKED_BYTES", 1000)
    with pytest.raises(UnfitCode, match="1 file has 1 KiB, and a job carries"):
        packed({"a": b"x" * 1025})


def library_source(at_least: int) -> dict[str, bytes]:
    """Return source as people write it: the standard library's, as much as is wanted."""
    root = Path(os.__file__).parent
    found: dict[str, bytes] = {}
    size = 0
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if "site-packages" in place.parts or "test" in place.parts or "tests" in place.parts:
            continue
        found[place.as_posix()] = path.read_bytes()
        size += len(found[place.as_posix()])
        if size >= at_least:
            return found
    return found


def test_four_and_a_half_megabytes_of_source_are_one_config_map() -> None:
    source = library_source(4_500_000)
    made: Archive = packed(source)
    lines = sum(data.count(b"\n") for data in source.values())
    assert sum(made.sizes.values()) >= 4_500_000
    assert lines > 100_000
    assert len(made.parts) == 1, made.shown
