"""What to do about an exception that ended a script."""

from __future__ import annotations

import re
from collections.abc import Sequence

from daskjob.core.last_exception import last_exception, plain_lines
from daskjob.core.wording import OF_SUBMITTED_SCRIPTS, Words

#: How a message ends that has its own next step.
_STEP = re.compile(
    r"\. (?P<step>(Raise|Lower|Most often|Run the task in|Set|Check|Keep|Ask for some|Offer it|"
    r"The command was|Look for a deadlock|Request less|Correct the (image|container|name)|"
    r"Create (it in|it, or|the missing object|a pull secret)|Fix what delays|Choose another name|"
    r"Ask the administrator) ?.*)$"
)
#: How a message about packages or code does: with all after its first sentence.
_STEP_OF_PREPARATION = re.compile(
    r"code of pod \S+ could not be prepared: .*?\. (?P<step>[A-Z].*)$", re.DOTALL
)
#: Before the end of an installer's output, in such a message.
LAST_LINES = "The installer's last lines: "
#: Modules whose distribution has another name.
DISTRIBUTIONS = {
    **{"sklearn": "scikit-learn", "skimage": "scikit-image", "cv2": "opencv-python"},
    **{"PIL": "pillow", "yaml": "pyyaml", "bs4": "beautifulsoup4", "dateutil": "python-dateutil"},
}
_MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '([^'.]+)")
#: An import that failed where a task graph arrived, not in the script.
_LACKS_MODULE = re.compile(r"serialization.*caused by ModuleNotFoundError")
#: Where the exception of a task enters the script: its import failed on a worker.
_CLIENT_FRAME = re.compile(r'^\s*File "[^"]*distributed/client\.py", line \d+, in ', re.MULTILINE)
#: What Python itself prints about ``-m``.
_NO_MODULE_TO_RUN = re.compile(r"py(thon|py)[\w.]*: No module named (?P<name>[^\s;]+)")
_NO_SCHEDULER = re.compile(
    r"(OSError|TimeoutError): Timed out .*connect.* to tcp://|No global client found"
)
_FRAME = re.compile(r'^\s*[|]?\s*File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<name>.+))?')
#: Parts of paths of code that is not the user's own.
_FOREIGN = ("site-packages", "dist-packages", "/lib/python", "<frozen", "<string>")
#: The file of a function that cloudpickle sent to a worker; its lines are those of the script.
_SENT = "<dynamic-code>"


def split_step(message: str) -> tuple[str, str]:
    """Return a message without the next step at its end, and that step; it may have none."""
    found = _STEP_OF_PREPARATION.search(message.partition(f" {LAST_LINES}")[0])
    if found:
        start = found.start("step")
        return message[: start - 1], message[start:]
    found = _STEP.search(message)
    if found is None or not found.start():
        return message, ""
    return message[: found.start()] + ".", found["step"]


def advice(message: str, log_tail: str, words: Words) -> str:
    """Return the next step for the exception in a message; empty if none is known."""
    if to_run := _NO_MODULE_TO_RUN.search(message):
        name = to_run["name"].removesuffix(".__main__")
        if words == OF_SUBMITTED_SCRIPTS:
            return f"Check the name {name}, or {_for_pods(name.partition('.')[0])}."
        return f"Check the name {name}, or install it for the Python that runs the script."
    if missing := _MISSING_MODULE.search(message):
        return _of_module(missing[1], message, log_tail, words)
    if _NO_SCHEDULER.search(message):
        return "Create the client with Client(), without an address: it finds the job's scheduler."
    return _where(log_tail)


def _of_module(name: str, message: str, log_tail: str, words: Words) -> str:
    """Return how the processes of a job get a module, whose package may have another name."""
    of_graph, package = _LACKS_MODULE.search(message), DISTRIBUTIONS.get(name, name)
    on_workers = of_graph or _CLIENT_FRAME.search(log_tail)
    if words == OF_SUBMITTED_SCRIPTS:
        step = _for_pods(name)
        more = "; or send it to the workers: client.upload_file()" if on_workers else ""
        return f"{step[0].upper()}{step[1:]}{more}."
    if words.is_script and on_workers:
        return (
            f"Install {name} for the Python that runs the script; or add its folder to sys.path "
            "before Client(); or send it to the workers: client.upload_file()."
        )
    if of_graph:
        return (
            f"Install {name} for the scheduler and the workers too, or send it to them: "
            "client.upload_file()."
        )
    if words.is_script:
        return (
            f"Name the package of {name} in the script's block (# dependencies), or for one run: "
            f"daskjob run --with {package}; or install it for the Python that runs the script, or "
            "choose another (--python)."
        )
    return (
        f"Name the package of {name}: daskjob submit --with {package}, or spec.environment of a "
        "manifest; or use an image of the runner and the workers that has it."
    )


def _for_pods(name: str) -> str:
    """Return how the pods of a submitted script get a module."""
    package = DISTRIBUTIONS.get(name, name)
    return (
        f"name the package of {name} in the script's block (# dependencies), or submit with it: "
        f"daskjob submit --with {package}; or use an image that has it"
    )


def _where(log_tail: str) -> str:
    """Return where the user's own code failed."""
    found = last_exception(log_tail)
    if found is None or not found.is_main:
        return ""
    frames = [_FRAME.match(line) for line in plain_lines(log_tail)[found.start : found.end]]
    own = [m for m in frames if m and not any(part in m["file"] for part in _FOREIGN)]
    if not own:
        return ""
    last = own[-1]
    file = _script_of(own) if last["file"] == _SENT else last["file"]
    name = last["name"] or ""
    inside = f", in {name}" if name and not name.startswith("<") else ""
    return f"Look at {file}, line {last['line']}{inside}."


def _script_of(frames: Sequence[re.Match[str]]) -> str:
    """Return the file of the script, whose own code is the first of a traceback."""
    main = [frame["file"] for frame in frames if frame["name"] == "<module>"]
    return main[0] if main else "the script"
