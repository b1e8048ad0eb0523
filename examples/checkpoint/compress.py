"""Survives a killed attempt: measures, chunk by chunk, how well Python's library compresses.

Every finished chunk is written to a checkpoint. If the process is killed, the next attempt reads
the finished chunks from there and computes only the others.

    python compress.py --checkpoint DIR                          # without daskjob
    daskjob run compress.py --checkpoint DIR --fail-on-attempt 0 # is killed once, then finishes

`--fail-on-attempt 0` makes the failure certain: on that attempt, once half of the missing chunks
are saved, the process gets SIGKILL, as it does from the kernel when memory runs out. No handler and
no cleanup runs; only the checkpoint is left.

The workers read the library themselves, so they need the same Python installation as the runner.
Only the runner writes the checkpoint: on Kubernetes, to a volume that outlives the pod.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import os
import shutil
import signal
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from distributed import Client, as_completed

#: Entries of the table in the result: a result holds at most 4 KiB.
RESULT_ENTRIES = 10
LEFT_OUT = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test"})
#: What a shell reports for a process ended by signal 9.
KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True)
class Measure:
    """The size of one file or of many, as it is and compressed with xz."""

    files: int = 0
    lines: int = 0
    size_bytes: int = 0
    compressed_bytes: int = 0

    def __add__(self, other: Measure) -> Measure:
        """Both together."""
        return Measure(
            self.files + other.files,
            self.lines + other.lines,
            self.size_bytes + other.size_bytes,
            self.compressed_bytes + other.compressed_bytes,
        )

    @property
    def percent(self) -> int:
        """The compressed size in percent of the size."""
        return round(100 * self.compressed_bytes / self.size_bytes) if self.size_bytes else 0


#: Measures by the library's package, or by file for a module at the top.
Measures = dict[str, Measure]


def source_files(root: Path) -> list[str]:
    """The library's source files in a fixed order, without tests and installed packages."""
    found = (path.relative_to(root) for path in root.rglob("*.py") if path.is_file())
    return sorted(path.as_posix() for path in found if LEFT_OUT.isdisjoint(path.parts))


def chunks_of(files: Sequence[str], count: int) -> list[list[str]]:
    """Distributes the files to chunks of about the same size; none is empty."""
    return [list(files[start::count]) for start in range(min(count, len(files)))]


def measure_chunk(files: Sequence[str], root: Path) -> Measures:
    """The work of one task: reads and compresses the files, and adds up by package."""
    measures: Measures = {}
    for file in files:
        package = file.split("/", maxsplit=1)[0]
        measures[package] = measures.get(package, Measure()) + measure_file(root / file)
    return measures


def measure_file(path: Path) -> Measure:
    """One file, compressed on its own."""
    content = path.read_bytes()
    return Measure(1, len(content.splitlines()), len(content), len(lzma.compress(content)))


def added_up(parts: Iterable[Measures]) -> Measures:
    """All chunks together, by package."""
    total: Measures = {}
    for part in parts:
        for package, measure in part.items():
            total[package] = total.get(package, Measure()) + measure
    return total


class Checkpoint:
    """The finished chunks of one plan, a file each, in a folder that outlives the process.

    The folder's name is a digest of the plan: a checkpoint of other files, or of another number
    of chunks, is never mistaken for this one.
    """

    def __init__(self, directory: Path, chunks: Sequence[Sequence[str]], root: Path) -> None:
        """Names the folder; nothing is read or written yet."""
        sizes = [[(file, (root / file).stat().st_size) for file in chunk] for chunk in chunks]
        digest = hashlib.sha256(json.dumps([str(root), sizes]).encode()).hexdigest()
        self.folder = directory / digest[:16]

    def load(self) -> dict[int, Measures]:
        """The chunks that earlier attempts finished, by number."""
        return {
            int(file.stem): {
                package: Measure(**values)
                for package, values in json.loads(file.read_text()).items()
            }
            for file in sorted(self.folder.glob("*.json"))
        }

    def save(self, number: int, measures: Measures) -> None:
        """Writes one chunk completely or not at all, even if the process or the machine stops."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({package: asdict(measure) for package, measure in measures.items()})
        unfinished = self.folder / f"{number:04}.tmp"
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.folder / f"{number:04}.json")

    def remove(self) -> None:
        """Removes what the result makes superfluous: the folder, and those above that are empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # The top of a volume stays.
            os.removedirs(self.folder.parent)


def compute(
    missing: Mapping[int, Sequence[str]],
    *,
    root: Path,
    checkpoint: Checkpoint,
    killed_after: int | None,
) -> dict[int, Measures]:
    """Measures the missing chunks on the cluster and saves each as soon as it is done."""
    computed: dict[int, Measures] = {}
    if not missing:
        return computed
    with Client() as client:
        numbers = {
            client.submit(measure_chunk, files, root, pure=False): number
            for number, files in missing.items()
        }
        for future, measures in as_completed(numbers, with_results=True):
            checkpoint.save(numbers[future], measures)
            computed[numbers[future]] = measures
            if len(computed) == killed_after:
                die(len(computed))
    return computed


def die(saved: int) -> NoReturn:
    """Ends this process as the kernel does when memory runs out: at once, without cleanup."""
    print(f"{saved} chunks saved; --fail-on-attempt: SIGKILL to this process", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    os._exit(KILLED)  # The first process of a container cannot kill itself with a signal.


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Plain text columns: numbers right-aligned, the rest left-aligned."""
    cells = [list(headers), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [
        "".join(column[1:]).replace("-", "").isdecimal() for column in zip(*cells, strict=True)
    ]
    lines = (
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    )
    return "\n".join(lines)


def largest(measures: Measures, top: int) -> list[tuple[str, Measure]]:
    """The largest packages first; the alphabet breaks ties."""
    return sorted(measures.items(), key=lambda item: (-item[1].size_bytes, item[0]))[:top]


def report(measures: Measures, *, top: int) -> str:
    """The text that the script prints at its end."""
    rows = [
        (package, m.files, m.lines, m.size_bytes // 1024, m.percent)
        for package, m in [*largest(measures, top), ("all", sum(measures.values(), Measure()))]
    ]
    return table(["package", "files", "lines", "KiB", "xz %"], rows)


def result(measures: Measures, *, attempt: int, computed: int, loaded: int) -> dict[str, object]:
    """The same as numbers, for `status.result`."""
    return {
        "attempt": attempt,
        "chunks": {"computed": computed, "fromCheckpoint": loaded},
        "total": asdict(sum(measures.values(), Measure())),
        "largest": {
            package: measure.size_bytes for package, measure in largest(measures, RESULT_ENTRIES)
        },
    }


def write_result(values: dict[str, object]) -> None:
    """Writes the result to the file that daskjob reads; without daskjob there is no such file."""
    place = os.environ.get("DASKJOB_RESULT_FILE")
    if place:
        Path(place).write_text(json.dumps(values), encoding="utf-8")


def positive(text: str) -> int:
    """A whole number of at least one, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="How well Python's library compresses.")
    parser.add_argument(
        "--checkpoint", type=Path, default=Path("checkpoint"), help="folder for finished chunks"
    )
    parser.add_argument(
        "--remove", action="store_true", help="remove the checkpoint once the result is written"
    )
    parser.add_argument("--chunks", type=positive, default=24, help="number of chunks")
    parser.add_argument("--limit", type=positive, help="only the first LIMIT files")
    parser.add_argument("--top", type=positive, default=10, help="rows of the table")
    parser.add_argument(
        "--fail-on-attempt", type=int, metavar="N", help="be killed half-way on attempt N"
    )
    return parser.parse_args()


def main() -> None:
    """Reads the chunks of earlier attempts, computes the others, and prints the number of each."""
    options = arguments()
    attempt = int(os.environ.get("DASKJOB_ATTEMPT", "0"))
    root = Path(sysconfig.get_path("stdlib"))
    chunks = chunks_of(source_files(root)[: options.limit], options.chunks)
    checkpoint = Checkpoint(options.checkpoint, chunks, root)

    loaded = checkpoint.load()
    missing = {number: files for number, files in enumerate(chunks) if number not in loaded}
    print(f"attempt {attempt}: {len(loaded)} of {len(chunks)} chunks are done", flush=True)
    half = max(1, len(missing) // 2)
    computed = compute(
        missing,
        root=root,
        checkpoint=checkpoint,
        killed_after=half if attempt == options.fail_on_attempt else None,
    )

    measures = added_up([*loaded.values(), *computed.values()])
    print(f"{len(computed)} chunks computed, {len(loaded)} taken from the checkpoint\n")
    print(report(measures, top=options.top))
    write_result(result(measures, attempt=attempt, computed=len(computed), loaded=len(loaded)))
    if options.remove:
        checkpoint.remove()


if __name__ == "__main__":
    main()
