"""The forms of both widgets, on the ipywidgets that JupyterLab's users have."""

from __future__ import annotations

import json
import subprocess

from tests.cluster.images import ROOT
from tests.kubecluster.jupyter import environment

PROGRAM = """
import json
from distributed import LocalCluster
from daskjob.classic.widget import with_bounds
from daskjob.kubecluster.view import ClusterView, GroupView
from daskjob.kubecluster.widget import ClusterWidget

class Shown:
    asynchronous = False
    def __init__(self, requested, bounds=None):
        self.group = GroupView("default", requested, 0, bounds)
    def view(self):
        return ClusterView((), (self.group,))
    def _repr_html_(self):
        return ""

made = [ClusterWidget(Shown(*given)) for given in [(0,), (40,), (4, (2, 3))]]
found = [[one.minimum.value, one.maximum.value] for one in made]
with LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster:
    def bounds(tab):
        row = tab.children[1].children[1].children[1]
        return [one.value for one in row.children[:2]]
    tab = with_bounds(cluster._widget(), 8)
    found.append(bounds(tab))
    tab.children[1].children[1].children[1].children[1].value = 3
    found.append(bounds(with_bounds(cluster._widget(), 8)))
print(json.dumps(found))
"""


def test_forms_for_adapt_begin_with_bounds_that_end_no_worker_at_once() -> None:
    done = subprocess.run(
        [str(environment() / "python"), "-W", "ignore", "-c", PROGRAM],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[0, 10], [0, 80], [2, 3], [0, 16], [0, 3]]
