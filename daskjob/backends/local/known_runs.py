"""The runs of the state directory: lists them, finds them by name or script."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from daskjob.backends.local.run_folder import RunFolder, json_object
from daskjob.core.errors import NotFound
from daskjob.core.manifests import Manifest, mapping, mappings, metadata, parse_time
from daskjob.core.names import generated_prefix
from daskjob.core.similar_names import did_you_mean

#: What a script's name may end with when it refers to a job.
SCRIPT_SUFFIXES = (".py", ".pyw", ".ipynb", ".sh")


def folders_of(root: Path, name: str) -> list[RunFolder]:
    """Return the runs of exactly this name, in any order; reads no other run's files."""
    found = [RunFolder(path) for path in root.glob(f"{glob.escape(name)}.*")]
    return [
        run
        for run in found
        if run.name == name and run.is_ours() and (run.path / "job.json").exists()
    ]


def folders(root: Path) -> list[RunFolder]:
    """Return the readable folders of runs, newest first."""
    if not root.is_dir():
        return []
    found = []
    for path in root.iterdir():
        created = _created(path)
        if created is not None and RunFolder(path).is_ours():
            found.append((created, path.name, RunFolder(path)))
    return [folder for _, _, folder in sorted(found, key=lambda item: item[:2], reverse=True)]


def _created(path: Path) -> tuple[float, float] | None:
    """Return when a folder's job was created; ``None`` where the folder holds none.

    A manifest has whole seconds; the time of the lock orders jobs of the same second.
    """
    try:
        manifest = json_object((path / "job.json").read_bytes())
    except OSError:
        return None
    if manifest is None:
        return None
    created = parse_time(metadata(manifest).get("creationTimestamp"))
    try:
        locked = (path / "lock").stat().st_mtime
    except OSError:
        locked = 0.0
    return (created.timestamp() if created else 0.0, locked)


def find_folder(root: Path, name: str = "", *, exact: bool = False) -> RunFolder:
    """Return the newest run of a name, or the one whose folder's name begins with it.

    Unless ``exact``, a script's name stands for its newest run, no name for the newest run of all,
    and a name that ``list`` shortened for the job whose name has both ends.

    Raises
    ------
    NotFound
        There is no such run; the message lists the existing jobs.
    """
    known = folders(root)
    if not name and known and not exact:
        return known[0]
    for folder in known:
        if folder.name == name:
            return folder
    for folder in known:
        if "." in name and folder.path.name.startswith(name):
            return folder
    for folder in known if name and not exact else ():
        if _ran(folder, name):
            return folder
    names = list(dict.fromkeys(folder.name for folder in known))
    shortened = re.split(r"…|\.\.\.", name)
    if len(shortened) == 2 and not exact:
        head, tail = shortened
        matching = [each for each in names if each.startswith(head) and each.endswith(tail)]
        if len(matching) == 1:
            return find_folder(root, matching[0])
        names = matching or names
    there = f"jobs here: {', '.join(names[:10])}" if names else "there are no jobs here"
    near = did_you_mean(name, names) if len(shortened) == 1 else ""
    which = f"there is no job {name!r} on this machine{near}; " if name else ""
    raise NotFound(f"{which}{there}")


def _ran(run: RunFolder, script: str) -> bool:
    """Return whether a run is one of a script, named by its path, its file or its name."""
    try:
        manifest = run.read_job()
    except NotFound:
        return False
    generated = str(metadata(manifest).get("generateName") or "")
    file = Path(script)
    label = file.stem if file.suffix in SCRIPT_SUFFIXES else file.name
    if generated and generated == generated_prefix(label):
        return True
    # With --name, only the command knows the script.
    ran = _script_of(manifest)
    return bool(ran) and script in {ran, Path(ran).name, Path(ran).stem}


def _script_of(manifest: Manifest) -> str:
    """Return the script that a job was made from; empty for a job from a manifest."""
    runner = mapping(mapping(mapping(manifest.get("spec")).get("job")).get("spec"))
    containers = mappings(runner.get("containers"))
    command = containers[0].get("command") if containers else None
    words = [str(word) for word in command] if isinstance(command, list) else []
    if words[:1] == ["python"]:
        words = words[1:]
    return words[0].replace("$$", "$") if words and not words[0].startswith("-") else ""
