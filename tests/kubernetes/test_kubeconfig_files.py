"""Which files a kubeconfig is, how they are merged, and what is wrong with them.

kubectl is the reference: the same files, and the same stanzas.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from daskjob.kube.access import NoCredentials
from daskjob.kube.kubeconfig import Kubeconfig
from daskjob.kube.kubeconfig_files import Unusable, kubeconfig_files, selected
from tests.cluster.binaries import binary
from tests.cluster.providers import wanted
from tests.kubernetes.given import run
from tests.kubernetes.kubeconfigs import kubeconfig

SECRET = "c2VjcmV0LXRva2VuLW9mLXRoZS11c2Vy"


def named(kind: str, **fields: dict[str, Any]) -> dict[str, Any]:
    return {f"{kind}s": [{"name": name, kind: value} for name, value in fields.items()]}


CONTEXT = named("context", one={"cluster": "c", "user": "u", "namespace": "first"})
CLUSTER = named("cluster", c={"server": "https://first:6443"})
USER = named("user", u={"token": "first"})
#: Files in the order of KUBECONFIG; ``None``: missing.
MERGED: dict[str, list[dict[str, Any] | None]] = {
    "parts in three files": [{"current-context": "one", **CONTEXT}, CLUSTER, USER],
    "the first current context": [
        {**CONTEXT, **CLUSTER},
        {"current-context": "two", **USER, **named("context", two={"cluster": "c", "user": "u"})},
        {"current-context": "one"},
    ],
    "the first of the same name, without fields of a later one": [
        {"current-context": "one", **CONTEXT, **CLUSTER, **USER},
        {
            **named("cluster", c={"server": "https://second", "insecure-skip-tls-verify": True}),
            **named("user", u={"token": "second", "username": "second"}),
            **named("context", one={"cluster": "d", "user": "v"}),
        },
    ],
    "an empty current context is none": [
        {"current-context": ""},
        {"current-context": "one", **CONTEXT, **CLUSTER, **USER},
    ],
    "a missing file": [None, {"current-context": "one", **CONTEXT, **CLUSTER, **USER}, None],
    "an empty file": [{}, {"current-context": "one", **CONTEXT, **CLUSTER, **USER}],
    "null lists": [
        {"clusters": None, "users": None, "contexts": None},
        {"current-context": "one", **CONTEXT, **CLUSTER, **USER},
    ],
}


def written(folder: Path, contents: list[dict[str, Any] | None]) -> str:
    """Write files; return them as KUBECONFIG."""
    paths = []
    for number, content in enumerate(contents):
        path = folder / str(number) / "config"
        if content is not None:
            path.parent.mkdir()
            path.write_text(yaml.safe_dump(content) if content else "")
        paths.append(str(path))
    return os.pathsep.join(paths)


@pytest.mark.skipif(not wanted(), reason="kubectl comes with the cluster")
@pytest.mark.parametrize("title", MERGED)
def test_files_are_merged_as_kubectl_merges_them(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", written(tmp_path, MERGED[title]))
    view = ["config", "view", "--minify", "--raw", "--output=json"]
    done = subprocess.run([binary("kubectl"), *view], capture_output=True, text=True, check=True)
    reference = json.loads(done.stdout)
    found = selected(None, None)
    assert found.context.name == reference["current-context"]
    for stanza in (found.context, found.cluster, found.user):
        (item,) = reference[f"{stanza.kind}s"]
        assert (stanza.name, dict(stanza.fields)) == (item["name"], item[stanza.kind])


def test_repeated_and_empty_names_of_files_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kubeconfig(tmp_path, {"token": "abc"})
    for given in (f":{path}", f"{path}::{path}", f"{path}:{tmp_path / 'none'}"):
        monkeypatch.setenv("KUBECONFIG", given)
        assert kubeconfig_files(None) == [Path(path)]


def test_a_named_file_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path / "a", {"token": "environment"}))
    named_one = kubeconfig(tmp_path / "b:c", {"token": "named"})
    assert run(Kubeconfig(named_one).access()).headers == {"Authorization": "Bearer named"}


def test_the_default_is_in_the_home_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(NoCredentials, match=r"\.kube/config does not exist; set KUBECONFIG"):
        run(Kubeconfig().access())
    kubeconfig(tmp_path / ".kube", {"token": "home"}, name="config")
    assert run(Kubeconfig().access()).headers == {"Authorization": "Bearer home"}


def test_paths_are_relative_to_the_file_that_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "token").write_text("wrong")
    monkeypatch.chdir(tmp_path)
    clusters = kubeconfig(tmp_path / "a", {"token": "none"}, users=[])
    path = kubeconfig(tmp_path / "b", {"tokenFile": "token"}, clusters=[], contexts=[])
    (tmp_path / "b" / "token").write_text("right")
    access = run(Kubeconfig(f"{clusters}:{path}").access())
    assert access.headers == {"Authorization": "Bearer right"}


#: Texts of a kubeconfig, and the message for each.
MALFORMED: dict[str, tuple[str | bytes, str]] = {
    "a tab": (f"users:\n\t- token: {SECRET}", r"is not valid YAML in line 2, column 1"),
    "an open string": (f'current-context: "{SECRET}', r"is not valid YAML in line 1, column"),
    "an unknown alias": (f"current-context: *{SECRET}", r"is not valid YAML in line 1, column 18$"),
    "an unknown tag": (f"token: !{SECRET} x", r"is not valid YAML in line 1, column 8$"),
    "an open list": (f"users: [{SECRET}", r"is not valid YAML in line"),
    "two documents": (f"a: {SECRET}\n---\nb: 1", r"is not valid YAML"),
    "control characters": ("a: \x00\x01", r"is not valid YAML"),
    "another encoding": (b"a: \xff\xfe\xff", r"is not valid YAML"),
    "a text": (SECRET, r"is not a kubeconfig: it must be a mapping"),
    "users as a mapping": (f"users: {{u: {SECRET}}}", r"users must be a list"),
    "a user without a name": (f"users: [{{user: {{token: {SECRET}}}}}]", r"users\[0\] must be"),
    "a user that is a text": (f"users: [{{name: u, user: {SECRET}}}]", r"users\[0\]\.user must be"),
    "a name twice": ("clusters: [{name: c}, {name: c}]", r"clusters has the name 'c' twice"),
    "no current context": ("contexts: [{name: a}, {name: b}]", r"not set.*there are: a, b"),
    "nothing": ("", r"current-context is not set.*there are: none"),
}


@pytest.mark.parametrize("title", MALFORMED)
def test_a_malformed_file_is_named_with_its_fault_and_without_its_secrets(
    title: str, tmp_path: Path
) -> None:
    content, message = MALFORMED[title]
    path = tmp_path / "config"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(NoCredentials, match=message) as caught:
        run(Kubeconfig(str(path)).access())
    assert str(path) in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_folder_and_an_unreadable_file_are_named(tmp_path: Path) -> None:
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "none", "does not exist")):
        with pytest.raises(Unusable, match=why) as caught:
            selected(str(path), None)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("context", ["third", "One", "two "])
def test_a_missing_context_is_reported_with_the_existing_ones(context: str, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {"token": SECRET})
    with pytest.raises(NoCredentials) as caught:
        run(Kubeconfig(path, context).access())
    message = str(caught.value)
    assert (
        f"{path} cannot be used: there is no context {context!r}; existing contexts: one, two"
        in (message)
    )


#: Contexts that refer to something else, and the message for each.
DANGLING = {
    "a missing cluster": (
        {"cluster": "d", "user": "u"},
        r"context 'x' in \S+: cluster: there is no cluster 'd'; existing clusters: c",
    ),
    "a missing user": (
        {"cluster": "c", "user": "v"},
        r"context 'x' in \S+: user: there is no user 'v'; existing users: u",
    ),
    "no cluster": ({"user": "u"}, r"context 'x' in \S+: cluster: is not set"),
    "no user": ({"cluster": "c"}, r"context 'x' in \S+: user: is not set"),
    "a list as the cluster": ({"cluster": ["c"], "user": "u"}, r"cluster: must be a string"),
}


@pytest.mark.parametrize("title", DANGLING)
def test_a_context_that_refers_to_nothing_is_named(title: str, tmp_path: Path) -> None:
    fields, message = DANGLING[title]
    path = kubeconfig(tmp_path, {"token": SECRET}, contexts=[{"name": "x", "context": fields}])
    with pytest.raises(NoCredentials, match=message):
        run(Kubeconfig(path, "x").access())


#: Fields of a user and of a cluster, and the message for each.
WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a missing token file": ({"tokenFile": "no"}, {}, r"user 'u' in \S+: tokenFile: \S+/no cannot"),
    "an empty token file": ({"tokenFile": "/dev/null"}, {}, r"tokenFile: /dev/null is empty"),
    "a token of two lines": ({"token": f"{SECRET}\n{SECRET}"}, {}, r"token: has characters"),
    "a token that is a list": ({"token": [SECRET]}, {}, r"token: must be a string"),
    "a missing certificate": (
        {"client-certificate": "no.crt", "client-key": "no.key"},
        {},
        r"user 'u' in \S+: client-certificate: \S+/no\.crt cannot be read: No such file",
    ),
    "a certificate without a key": (
        {"client-certificate-data": SECRET},
        {},
        r"client-key: is not set",
    ),
    "certificate data that is no base64": (
        {"client-certificate-data": "%", "client-key-data": "%"},
        {},
        r"client-certificate-data: is not base64",
    ),
    "certificate data that is no certificate": (
        {"client-certificate-data": SECRET, "client-key-data": SECRET},
        {},
        r"client-certificate: the certificate and its key are not a pair",
    ),
    "a missing authority": (
        {},
        {"certificate-authority": "ca.crt"},
        r"cluster 'c' in \S+: certificate-authority: \S+/ca\.crt cannot be read",
    ),
    "authority data that is no base64": (
        {},
        {"certificate-authority-data": "abc"},
        r"certificate-authority-data: is not base64",
    ),
    "authority data that is no certificate": (
        {},
        {"certificate-authority-data": base64.b64encode(b"none").decode()},
        r"certificate-authority: is not a certificate",
    ),
    "an authority that is not used": (
        {},
        {"certificate-authority-data": SECRET, "insecure-skip-tls-verify": True},
        r"insecure-skip-tls-verify: remove it, or certificate-authority",
    ),
    "a flag that is a text": ({}, {"insecure-skip-tls-verify": "yes"}, r"must be true or false"),
    "no server": ({}, {"server": ""}, r"cluster 'c' in \S+: server: must be a URL"),
    "another scheme": ({}, {"server": "ftp://one"}, r"server: must be a URL"),
    "a port that is no number": ({}, {"server": "https://one:x"}, r"server: must be a URL"),
    "another kind of proxy": (
        {},
        {"proxy-url": f"socks5://me:{SECRET}@proxy"},
        r"proxy-url: must start with http",
    ),
    "impersonation": ({"as": "root"}, {}, r"user 'u' in \S+: as: daskjob does not support"),
    "impersonation of groups": ({"as-groups": ["admins"]}, {}, r"as-groups: daskjob does not"),
    "another provider": ({"auth-provider": {"name": "gcp"}}, {}, r"auth-provider: only oidc"),
    "a provider without a token": (
        {"auth-provider": {"name": "oidc", "config": {"client-secret": SECRET}}},
        {},
        r"auth-provider: has no id-token; log in again",
    ),
}


@pytest.mark.parametrize("title", WRONG)
def test_a_wrong_field_is_named_with_its_file_and_without_secrets(
    title: str, tmp_path: Path
) -> None:
    user, cluster, message = WRONG[title]
    path = kubeconfig(tmp_path, user, cluster)
    with pytest.raises(NoCredentials, match=message) as caught:
        run(Kubeconfig(path).access())
    assert path in str(caught.value)
    assert SECRET not in str(caught.value)
    with pytest.raises(NoCredentials, match=message):
        Kubeconfig(path).at_once()


#: Users, and the header of their requests.
HEADERS: dict[str, tuple[dict[str, Any], str | None]] = {
    "a token": ({"token": "abc"}, "Bearer abc"),
    "a token with a line end": ({"token": "abc\n"}, "Bearer abc"),
    "a token that YAML reads as a number": ({"token": 123}, "Bearer 123"),
    "a file before a token": ({"token": "abc", "tokenFile": "filed"}, "Bearer filed"),
    "a token if its file is missing": ({"token": "abc", "tokenFile": "no"}, "Bearer abc"),
    "a token before a plugin": ({"token": "abc", "exec": {"command": "false"}}, "Bearer abc"),
    "a name and a password": ({"username": "me", "password": "secret"}, "Basic bWU6c2VjcmV0"),
    "an OpenID provider": (
        {"auth-provider": {"name": "oidc", "config": {"id-token": "abc"}}},
        "Bearer abc",
    ),
    "nothing": ({}, None),
}


@pytest.mark.parametrize("title", HEADERS)
def test_the_header_has_the_credentials_that_take_precedence(title: str, tmp_path: Path) -> None:
    user, header = HEADERS[title]
    (tmp_path / "filed").write_text("filed\n")
    access = run(Kubeconfig(kubeconfig(tmp_path, user)).access())
    assert access.headers == ({"Authorization": header} if header else {})
    assert access.tls is True
    for secret in ("abc", "filed", "bWU6"):
        assert secret not in repr(access)


@pytest.mark.parametrize(
    ("server", "user", "cluster", "url", "sent"),
    [
        ("http://one:8001", {}, {}, "http://one:8001", False),
        ("one:8001", {}, {}, "http://one:8001", False),
        ("one", {}, {"insecure-skip-tls-verify": True}, "https://one", True),
        ("https://one/clusters/c/", {}, {}, "https://one/clusters/c", True),
        ("https://[fd00::1]:6443", {}, {}, "https://[fd00::1]:6443", True),
    ],
)
def test_credentials_are_sent_by_tls_only(
    server: str,
    user: dict[str, Any],
    cluster: dict[str, Any],
    url: str,
    sent: bool,
    tmp_path: Path,
) -> None:
    path = kubeconfig(tmp_path, {"token": "abc", **user}, {"server": server, **cluster})
    access = run(Kubeconfig(path).access())
    assert (access.server, bool(access.headers)) == (url, sent)


def test_the_namespace_is_that_of_the_context(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {"token": "abc"})
    for context, namespace in ((None, "default"), ("one", "default"), ("two", "second")):
        assert run(Kubeconfig(path, context).namespace()) == namespace
        found = Kubeconfig(path, context).at_once()
        assert found is not None
        assert found[1] == namespace
