"""``daskjob cluster notebook``: JupyterLab and a cluster from one image, on a real cluster."""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from tornado.websocket import websocket_connect

from tests.cli.command import Daskjob, finish
from tests.cli.test_on_cluster import OnCluster, operator
from tests.cluster.plugin import Kubectl, Kubernetes
from tests.waiting import until

SMALL = (
    *("--workers", 1, "--cpu", "100m", "--memory", "400Mi", "--scheduler-cpu", "100m"),
    *("--scheduler-memory", "400Mi", "--notebook-cpu", "100m", "--notebook-memory", "700Mi"),
)
#: As in the documentation, and as provisioned deployments of Dask always had it.
CELL = """
from distributed import Client
with Client() as client:
    print(client.submit(sum, range(100)).result(), client.scheduler.address)
    print(client.dashboard_link)
with Client("dask-scheduler:8786") as client:
    print(len(client.scheduler_info()["workers"]))
open("kept.txt", "w").close()
"""
OTHER_PORT = "lead to local port 8787, which is not this one; use the address above"


@pytest.fixture
def there(daskjob: Daskjob, with_crds: Kubernetes, namespace: str, kubectl: Kubectl) -> OnCluster:
    label = "pod-security.kubernetes.io/enforce=restricted"
    kubectl("label", "namespace", namespace, label)
    return OnCluster(daskjob, with_crds, namespace)


async def line(stream: IO[bytes] | None) -> str:
    assert stream is not None
    return (await asyncio.to_thread(stream.readline)).decode().rstrip("\n")


async def printed(command: subprocess.Popen[bytes], word: str) -> str:
    """Return what a command prints after a word, at the start of a line."""
    while text := await line(command.stdout):
        if text.startswith(word):
            return text.removeprefix(word).strip()
    raise AssertionError(finish(command).err)


class Jupyter:
    """A Jupyter server, by its address."""

    def __init__(self, link: str) -> None:
        parts = urlsplit(link)
        self.where = parts.netloc
        [self.token] = parse_qs(parts.query)["token"]

    def request(self, path: str, method: str = "GET", token: str | None = None) -> Any:
        headers = {"Authorization": f"token {self.token if token is None else token}"}
        url = f"http://{self.where}/api{path}"
        request = urllib.request.Request(url, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    async def run(self, code: str) -> str:
        """Run code in a new kernel; return what it prints."""
        kernel = await asyncio.to_thread(self.request, "/kernels", "POST")
        url = f"ws://{self.where}/api/kernels/{kernel['id']}/channels?token={self.token}"
        socket = await websocket_connect(url)
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
        header |= {"username": "", "session": uuid.uuid4().hex}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        await socket.write_message(json.dumps({**message, "channel": "shell"}))
        output = ""
        async with asyncio.timeout(120):
            while True:
                found = json.loads(await socket.read_message() or "{}")
                content = found.get("content", {})
                match found.get("msg_type"):
                    case "stream":
                        output += content["text"]
                    case "execute_reply":
                        assert content["status"] == "ok", content
                    case "status" if content["execution_state"] == "idle" and output:
                        socket.close()
                        return output


@pytest.mark.check(58)
async def test_notebook_from_its_creation_to_its_end(
    there: OnCluster, with_crds: Kubernetes, kubectl: Kubectl, tmp_path: Path
) -> None:
    image = with_crds.image("jupyter")

    def start(verb: str, *words: object) -> subprocess.Popen[bytes]:
        return there.daskjob.start("cluster", verb, "-n", there.namespace, *words)

    async def cluster(verb: str, *words: object) -> tuple[int, str, str]:
        done = await asyncio.to_thread(finish, start(verb, *words), timeout=180)
        return done.code, done.text, done.err

    async with operator(with_crds, there.namespace, tmp_path):
        command = start("notebook", "--image", image, *SMALL, "--port", 0)
        jupyter = Jupyter(await printed(command, "Notebook:"))
        with pytest.raises(urllib.error.HTTPError, match="403"):
            jupyter.request("/contents", token="")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            jupyter.request("/contents", token="x" * 43)
        assert jupyter.request("/contents")["content"] == []
        output = await jupyter.run(CELL)
        address, dashboard, workers = output.splitlines()
        assert (address, workers) == ("4950 tcp://dask-scheduler:8786", "1")
        reported = await printed(command, "Dashboard:")
        assert await asyncio.to_thread(leads_to, command, dashboard, reported)
        assert [item["name"] for item in jupyter.request("/contents")["content"]] == ["kept.txt"]

        # The token is in the Secret alone.
        objects = ("deployments", "daskclusters", "pods", "services", "events")
        for kind in objects:
            assert jupyter.token not in kubectl("get", kind, "-o", "json")
        pods = kubectl("get", "pods", "-o", "name", "-l", "app=distributed").split()
        assert len(pods) == 3
        for pod in pods:
            assert jupyter.token not in kubectl("logs", pod)

        # Another pod, the same port.
        kubectl("delete", "pod", "-l", "dask.org/notebook=dask", "--grace-period=1")
        await until(lambda: _answers(jupyter), pause=0.5)

        _, text, _ = await cluster("list")
        assert [row.split() for row in text.splitlines()][1][-1] == "dask-notebook"
        code, _, err = await cluster("notebook", "--no-connect", "--image", image)
        assert (code, "its settings stay as they are" in err) == (0, True)
        connected = start("connect", "dask")
        assert Jupyter(await printed(connected, "Notebook:")).token == jupyter.token
        connected.send_signal(signal.SIGINT)
        done = await asyncio.to_thread(finish, connected)
        # The first command, or another process, has that port.
        assert (done.code, OTHER_PORT in done.err) == (0, True)

        assert (await cluster("scale", "dask", 0))[0] == 0
        await until(lambda: not kubectl.there("pods", labelSelector="dask.org/component=worker"))
        assert (await cluster("delete", "dask"))[0] == 0
        done = await asyncio.to_thread(finish, command)
        assert (done.code, done.err.splitlines()[-1]) == (125, "daskjob: cluster dask was deleted")
        assert jupyter.token not in done.err
        kinds = ("daskclusters", "pods", "services", "secrets")
        await until(
            lambda: not (kubectl.there(*kinds) or kubectl("get", "deployments", "-o", "name")),
            pause=0.5,
        )


def leads_to(command: subprocess.Popen[bytes], link: str, reported: str) -> bool:
    """Return whether the link in the notebook works here; else, the command says what does."""
    if urlsplit(reported).port == urlsplit(link).port:
        with urllib.request.urlopen(link, timeout=30) as answer:
            return b"Dask" in answer.read()
    assert command.stderr is not None
    return any(OTHER_PORT in text.decode() for text in command.stderr)


def _answers(jupyter: Jupyter) -> bool:
    try:
        return bool(jupyter.request("/contents")["content"] == [])
    except OSError:
        return False


@pytest.mark.check(58)
async def test_image_without_jupyter_is_reported_and_a_plain_cluster_is_left_alone(
    there: OnCluster, with_crds: Kubernetes, kubectl: Kubectl, tmp_path: Path
) -> None:
    words = ("-n", there.namespace, "--image", with_crds.image("dask"))

    def cluster(verb: str, *more: object) -> tuple[int, str]:
        done = finish(there.daskjob.start("cluster", verb, *words, *SMALL[:-4], *more), timeout=180)
        return done.code, done.err

    async with operator(with_crds, there.namespace, tmp_path):
        code, err = await asyncio.to_thread(cluster, "notebook", "bare")
        assert code == 125
        last = err.splitlines()[-1]
        assert last.startswith("daskjob: the notebook of bare crashes")
        assert "must have JupyterLab" in last
        stays = f"to delete it: daskjob cluster delete -n {there.namespace} bare"
        assert (stays in err, "daskcluster/bare stays" in err) == (True, True)
        # As after a creation that was interrupted.
        token = kubectl("get", "secret", "bare-notebook", "-o", "jsonpath={.data.token}")
        kubectl("delete", "deployment", "bare-notebook")
        assert (await asyncio.to_thread(cluster, "notebook", "bare", "--no-connect"))[0] == 0
        assert "bare-notebook" in kubectl("get", "deployments", "-o", "name")
        assert token == kubectl("get", "secret", "bare-notebook", "-o", "jsonpath={.data.token}")
        code, err = await asyncio.to_thread(cluster, "create", "plain")
        assert code == 0
        code, err = await asyncio.to_thread(cluster, "notebook", "plain")
        assert (code, "plain" in err, "has no notebook" in err) == (125, True, True)
        assert [item["metadata"]["name"] for item in kubectl.items("secrets")] == ["bare-notebook"]


@pytest.mark.check(58)
def test_saved_manifests_are_accepted_and_have_no_token(there: OnCluster, kubectl: Kubectl) -> None:
    file = there.daskjob.work / "notebook.yaml"
    words = ("--image", "registry.test/image", "--mount", "pvc:home:/work", "-w", "3")
    save = ("cluster", "notebook", "mine", "-n", there.namespace, *words, "--save-manifests")
    done = there.daskjob(*save, file)
    assert (done.code, done.text) == (0, "")
    saved = list(yaml.safe_load_all(file.read_text()))
    assert [item["kind"] for item in saved] == ["Secret", "DaskCluster", "Service", "Deployment"]
    pod = saved[3]["spec"]["template"]["spec"]
    [volume] = pod["volumes"]
    assert volume["persistentVolumeClaim"] == {"claimName": "home"}
    variables = {item["name"]: item for item in pod["containers"][0]["env"]}
    assert "value" not in variables["JUPYTER_TOKEN"]
    assert variables["DASK_SCHEDULER_ADDRESS"]["value"] == "tcp://mine-scheduler:8786"
    link = "DASK_DISTRIBUTED__DASHBOARD__LINK"
    assert variables[link]["value"] == "http://localhost:8787/status"
    assert kubectl.there("daskclusters") == []
    printed = there.daskjob(*save, "-")
    assert printed.text == file.read_text()
    own = there.daskjob(*save, "-", "-e", f"{link}={{JUPYTERHUB_SERVICE_PREFIX}}proxy/8787/status")
    assert (own.code, "localhost:8787" in own.text) == (0, False)
    assert "{JUPYTERHUB_SERVICE_PREFIX}proxy/8787/status" in own.text
    # The file creates and deletes everything; the printed command adds the token, also again.
    for _ in range(2):
        kubectl("apply", "-f", str(file))
        assert len(token_of(kubectl)) in (0, 43)
        subprocess.run(["bash", "-c", patched(kubectl, done.err)], check=True)
        assert len(token_of(kubectl)) == 43
    kubectl("delete", "-f", str(file))
    assert kubectl.there("daskclusters", "secrets", "services") == []


def patched(kubectl: Kubectl, printed: str) -> str:
    """Return the command that adds the token, as it is printed."""
    command = printed.splitlines()[-1]
    assert command.startswith("  python -c 'import json, secrets; ")
    program = shlex.join(kubectl.kubernetes.command())
    return command.replace("python", sys.executable, 1).replace("kubectl", program)


def token_of(kubectl: Kubectl) -> bytes:
    found = kubectl("get", "secret", "mine-notebook", "-o", "jsonpath={.data.token}")
    return base64.b64decode(found)


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [((), 2, "notebook.yaml exists; --force replaces it"), (("--force",), 0, "kind: DaskCluster")],
)
def test_an_existing_file_is_replaced_with_force_only(
    daskjob: Daskjob, more: tuple[str, ...], code: int, text: str
) -> None:
    file = daskjob.work / "notebook.yaml"
    file.write_text("mine\n")
    words = ("cluster", "notebook", "--image", "x", "--save-manifests", "notebook.yaml", *more)
    done = daskjob(*words)
    assert done.code == code
    assert text in (done.err if code else file.read_text())
    assert (file.read_text() == "mine\n") == bool(code)
    alone = daskjob("cluster", "notebook", "--force")
    assert (alone.code, "--save-manifests" in alone.err) == (2, True)
