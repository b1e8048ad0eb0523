"""The widget of a cluster in a notebook: its state, and buttons that scale it.

It shows what ``view_html`` renders. ipywidgets is optional, and is imported with the first widget.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, Protocol

from daskjob.core import names
from daskjob.core.demand import suggested_bounds
from daskjob.kubecluster.view import ClusterView
from daskjob.kubecluster.view_html import message_html, scaling_html

_FIELD = "170px"
_BUTTON = "90px"


class Shown(Protocol):
    """The cluster that a widget shows."""

    @property
    def asynchronous(self) -> bool:
        """Whether calls return awaitables."""
        ...

    def view(self) -> ClusterView:
        """Return what there is to see."""
        ...

    def _repr_html_(self) -> str: ...

    def scale(self, n: int, worker_group: str) -> Any:
        """Set the number of workers."""
        ...

    def adapt(self, minimum: int, maximum: int, worker_group: str) -> Any:
        """Have the operator scale."""
        ...


class ClusterWidget:
    """The widget of one cluster; ``root`` is what notebooks display."""

    def __init__(self, cluster: Shown) -> None:
        # It is optional, so that type checkers may not find it.
        made: Any = import_module("ipywidgets")
        self._cluster = cluster
        self._tasks: set[asyncio.Future[None]] = set()
        view = cluster.view()
        self.status = made.HTML(cluster._repr_html_())
        self.scaling = made.HTML(scaling_html(view))
        self.message = made.HTML("")
        field, button = made.Layout(width=_FIELD), made.Layout(width=_BUTTON)
        self.group = made.Dropdown(description="Group", layout=made.Layout(width="266px"))
        group = view.group(names.DEFAULT_GROUP)
        requested = group.requested if group else 0
        low, high = (group.bounds if group else None) or suggested_bounds(requested)
        self.workers = made.IntText(requested, description="Workers", layout=field)
        self.minimum = made.IntText(low, description="Minimum", layout=field)
        self.maximum = made.IntText(high, description="Maximum", layout=field)
        self.scale_button = made.Button(description="Scale", layout=button)
        self.adapt_button = made.Button(description="Adapt", layout=button)
        self.scale_button.on_click(self._scale)
        self.adapt_button.on_click(self._adapt)
        rows = [
            made.HBox([self.workers, self.scale_button]),
            made.HBox([self.minimum, self.maximum, self.adapt_button]),
        ]
        self.controls = made.VBox([self.group, *rows])
        self.root = made.Tab([self.status, made.VBox([self.scaling, self.controls, self.message])])
        self.root.set_title(0, "Status")
        self.root.set_title(1, "Scaling")
        self._show(view)

    def update(self) -> None:
        """Show the current state; what has not changed is not sent again."""
        self.status.value = self._cluster._repr_html_()
        self._show(self._cluster.view())

    def _show(self, view: ClusterView) -> None:
        self.scaling.value = scaling_html(view)
        options = tuple(group.name for group in view.groups) or (names.DEFAULT_GROUP,)
        if self.group.options != options:
            chosen = self.group.value
            self.group.options = options
            self.group.value = chosen if chosen in options else options[0]
        self.group.layout.display = None if len(options) > 1 else "none"
        if view.closed:
            self.controls.layout.display = "none"
            self.message.value = ""

    def _scale(self, _: object) -> None:
        n, group = self.workers.value, self.group.value
        self._act(lambda: self._cluster.scale(n, worker_group=group))

    def _adapt(self, _: object) -> None:
        low, high, group = self.minimum.value, self.maximum.value, self.group.value
        self._act(lambda: self._cluster.adapt(low, high, worker_group=group))

    def _act(self, action: Callable[[], Any]) -> None:
        """Do what a button says; a mistake is shown below it, since no cell would have it."""
        self.message.value = ""
        try:
            result = action()
            if self._cluster.asynchronous and inspect.isawaitable(result):
                task = asyncio.ensure_future(self._awaited(result))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except Exception as error:
            self._fail(error)
        self.update()

    async def _awaited(self, result: Awaitable[Any]) -> None:
        try:
            await result
        except Exception as error:
            self._fail(error)
        self.update()

    def _fail(self, error: Exception) -> None:
        self.message.value = message_html(str(error) or type(error).__name__, is_error=True)


def widget_of(cluster: Shown) -> ClusterWidget | None:
    """Return a widget; ``None`` without ipywidgets."""
    try:
        return ClusterWidget(cluster)
    except ImportError:
        return None
