"""The environment that loads the scheduler agent (``daskjob/agent.py``) into a scheduler.

The caller reads the agent's source and passes it in.

distributed accepts the *text* of a module as a preload (``distributed.preloading``): a value that
contains a space and does not end in ``.py``. It logs that text several times, and a scheduler's log
is for people: so the text is one short line that runs the agent, compressed, from another variable.
Kubernetes rewrites ``$(…)`` and ``$$`` in environment and arguments, so neither contains a ``$``.
An exception at import would end the scheduler, so neither raises one.
"""

from __future__ import annotations

import ast
import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

#: Read by dask as ``distributed.scheduler.preload`` and ``…preload-argv``.
PRELOAD_VARIABLE = "DASK_DISTRIBUTED__SCHEDULER__PRELOAD"
PRELOAD_ARGV_VARIABLE = "DASK_DISTRIBUTED__SCHEDULER__PRELOAD_ARGV"
#: Holds the agent; read by `PRELOAD`.
AGENT_VARIABLE = "DASKJOB_AGENT"
#: Read by the agent.
TOKEN_VARIABLE = "DASKJOB_AGENT_TOKEN"
GROUPS_VARIABLE = "DASKJOB_AGENT_GROUPS"
#: The number of workers for which the first clients wait: set on a single machine only.
EXPECTED_VARIABLE = "DASKJOB_AGENT_EXPECTED_WORKERS"

#: The preload: one line, no ``$``, raises no exception, not even if the variable is not set.
PRELOAD = (
    'with __import__("contextlib").suppress(BaseException): '
    f'exec(__import__("os").environ["{AGENT_VARIABLE}"])'
)
# BaseException: a SystemExit would end the scheduler, too.
_LOADER = """try:
 import base64, zlib
 exec(compile(zlib.decompress(base64.b64decode('{packed}')), 'daskjob-agent', 'exec'))
except BaseException as error:
 import logging
 logging.getLogger('distributed.scheduler').warning('daskjob agent: not loaded: %r', error)
"""


@dataclass(frozen=True)
class AgentGroup:
    """The facts of a worker group with which the agent splits the adaptive target.

    The first group of a cluster is its default group: it gets all demand that does not need another
    group.
    """

    name: str
    #: Prefix of the names of the group's workers.
    prefix: str
    #: Threads of one worker.
    nthreads: float = 1
    #: Resources of one worker, from its ``--resources``.
    resources: Mapping[str, float] = field(default_factory=dict)


# Cached: the source is always the same.
@lru_cache(maxsize=2)
def bootstrap(source: str) -> str:
    """The value of `AGENT_VARIABLE`: one line, no ``$``, raises no exception."""
    packed = zlib.compress(source.encode(), level=9)
    loader = _LOADER.format(packed=base64.b64encode(packed).decode("ascii"))
    return f"exec({loader!r})"


def preloads(others: Sequence[str] = ()) -> str:
    """The value of `PRELOAD_VARIABLE`: the other preloads, then the agent.

    Always a list in the syntax of dask's config (``ast.literal_eval``).
    """
    return repr([*others, PRELOAD])


def named_preloads(value: str | None) -> list[str]:
    """The preloads in a value of `PRELOAD_VARIABLE`, parsed like dask does."""
    parsed = _as_dask_reads(value)
    if isinstance(parsed, str):
        return [parsed] if parsed else []
    return [str(item) for item in parsed] if isinstance(parsed, (list, tuple)) else []


def preload_argv(value: str | None, others: int) -> str:
    """The value of `PRELOAD_ARGV_VARIABLE` for `preloads` with this number of others.

    It must be set even if the user did not: a list of arguments for each preload in the image's
    YAML files would not match the length of our list, and the scheduler would not start.
    """
    parsed = _as_dask_reads(value)
    if not isinstance(parsed, (list, tuple)) or not parsed:
        return "[]"
    if all(isinstance(item, str) for item in parsed):
        return repr([list(parsed) for _ in range(others)] + [[]])
    return repr([*parsed, []])


def agent_environment(
    source: str,
    *,
    token: str,
    groups: Sequence[AgentGroup] = (),
    environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The variables to add to a scheduler with this `environment`.

    Preloads in the user's environment are kept. Preloads in the scheduler's arguments override the
    variable: append ``--preload`` and `PRELOAD` to them as well.
    """
    own = environment or {}
    others = named_preloads(own.get(PRELOAD_VARIABLE))
    return {
        AGENT_VARIABLE: bootstrap(source),
        TOKEN_VARIABLE: token,
        GROUPS_VARIABLE: groups_json(groups),
        PRELOAD_VARIABLE: preloads(others),
        PRELOAD_ARGV_VARIABLE: preload_argv(own.get(PRELOAD_ARGV_VARIABLE), len(others)),
    }


def groups_json(groups: Sequence[AgentGroup]) -> str:
    """The value of `GROUPS_VARIABLE`."""
    rows = [
        {
            "name": group.name,
            "prefix": group.prefix,
            "nthreads": group.nthreads,
            "resources": dict(group.resources),
        }
        for group in groups
    ]
    return json.dumps(rows, separators=(",", ":"))


def _as_dask_reads(value: str | None) -> object:
    if not value:
        return None
    try:
        return ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return value


def shortened(source: str) -> str:
    """The source without comments, docstrings and annotations: half of its compressed size.

    For pods of a Kubernetes, which keeps their manifests; it takes 40 ms of a processor.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        # Running it will report the error; the scheduler starts anyway.
        return source
    for node in ast.walk(tree):
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(ast.fix_missing_locations(_WithoutAnnotations().visit(tree)))


class _WithoutAnnotations(ast.NodeTransformer):
    """Removes the annotations of functions and variables."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        return None if node.module == "__future__" else node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        if node.value is None:
            return ast.Pass()
        return ast.Assign(targets=[node.target], value=node.value)
