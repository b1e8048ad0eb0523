"""The page of the first generation: pod templates on the main class."""

from __future__ import annotations

import pytest

from tests.docs.consoles import Command
from tests.documented.blocks import documented
from tests.documented.session import Session

SECONDS = 240
LINK = """
from daskjob import KubeCluster
with KubeCluster(n_workers=0, quiet=True) as cluster:
    print(cluster.dashboard_link)
"""

pytestmark = [
    pytest.mark.usefixtures("operator"),
    pytest.mark.filterwarnings("ignore:Mismatched versions"),
]


def test_quickstart_and_template_of_a_variable(user: Session) -> None:
    user.file("first-generation/worker-spec")
    user.python("first-generation/scale")
    with user.cluster.get_client() as client:
        assert client.submit(sum, range(100)).result(timeout=SECONDS) == 4950
    (cluster,) = user.kubectl.items("daskclusters")
    assert "autoscaling" in cluster["spec"]["worker"]
    assert {pod.metadata.labels["foo"] for pod in user.cluster.pods()} == {"bar"}
    user.cluster.close()

    code = documented()["first-generation/template-path"].text
    program = f"from daskjob import KubeCluster\n{code}\ncluster.scale(1)\n"
    program += "cluster.wait_for_workers(1)\nprint(len(cluster.scheduler_info['workers']))"
    (user.folder / "program.py").write_text(program)
    variable = "DASK_KUBERNETES_WORKER_TEMPLATE_PATH"
    text = user.reader.run_text(f"{variable}=worker-spec.yml python program.py 2>&1")
    assert text.splitlines()[-1] == "1"
    assert variable in text


def test_link_of_a_variable(user: Session) -> None:
    (user.folder / "link.py").write_text(LINK)
    (export,) = documented()["first-generation/diagnostics-link"].console.commands()
    _, ran = user.reader.run(
        [export, Command("JUPYTERHUB_SERVICE_PREFIX=/user/me/ python link.py", ())]
    )
    assert ran.code == 0, ran.text
    assert ran.text.splitlines()[-1].startswith("/user/me/proxy/")
    assert ran.text.endswith("/status")
