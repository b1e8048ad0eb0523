"""The interfaces for users and programs: the command line, and scripts as jobs.

The package itself can be called: ``daskjob.submit(function, *arguments)``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class _Submit(ModuleType):
    """The package as a function: a package and a function of one name are one attribute."""

    def __call__(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
        """Call a function in a job; see ``daskjob.submit.functions.submitting.submit``."""
        from daskjob.submit.functions.submitting import submit

        return submit(function, *arguments, **options)


sys.modules[__name__].__class__ = _Submit
