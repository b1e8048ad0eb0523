"""The components of a native cluster: each program with its arguments and configuration.

One function per component, which writes its configuration files and returns the unit for the
supervisor. The ports are Kubernetes' defaults, since every cluster has its own network namespace.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.binaries import binary
from tests.cluster.network import Network
from tests.cluster.pki import Pki
from tests.cluster.runtime import runtime_program

NODE = "node-1"
#: The name of the node in all components.
DOMAIN = "cluster.local"
ETCD = "127.0.0.1:2379"
#: A registry that a test may run on the node.
LOOPBACK_REGISTRY = "127.0.0.1:5127"


@dataclass(frozen=True, slots=True)
class Unit:
    """A component: its command, and the files and ports that it needs."""

    name: str
    argv: list[str]
    after: tuple[str, ...] = ()

    def text(self) -> str:
        """The supervisor's file."""
        return json.dumps({"argv": self.argv, "after": self.after})


@dataclass(frozen=True, slots=True)
class Platform:
    """The paths of a cluster's files, and its addresses."""

    folder: Path
    network: Network
    #: The control group below which the kubelet creates those of the pods.
    cgroup: str

    @property
    def pki(self) -> Pki:
        """The cluster's keys."""
        return Pki(self.folder / "pki")

    @property
    def audit_log(self) -> Path:
        """The audit log of the API server: a line for every request."""
        return self.folder / "audit.log"

    @property
    def containerd_socket(self) -> Path:
        """The socket of containerd."""
        return self.folder / "containerd.sock"

    @property
    def api_server(self) -> str:
        """``host:port`` of the API server."""
        return f"{self.network.node}:6443"

    def kubeconfig(self, name: str) -> Path:
        """The kubeconfig of a component, or of ``admin``."""
        return self.folder / f"{name}.kubeconfig"

    def write(self, name: str, text: str) -> str:
        """Write a configuration file; return its path."""
        path = self.folder / "config" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    def write_json(self, name: str, value: object) -> str:
        """Write a configuration file of Kubernetes; JSON is YAML."""
        return self.write(name, json.dumps(value, indent=1))


#: The clients of the API server, and their users.
USERS = {
    "admin": "/O=system:masters/CN=admin",
    "kube-controller-manager": "/CN=system:kube-controller-manager",
    "kube-scheduler": "/CN=system:kube-scheduler",
    "kube-proxy": "/CN=system:kube-proxy",
    "kubelet": f"/O=system:nodes/CN=system:node:{NODE}",
    "coredns": "/O=system:masters/CN=coredns",
    "kwok": "/O=system:masters/CN=kwok",
}


def make_identities(platform: Platform) -> None:
    """Create the certificates and kubeconfigs of all components."""
    pki, network = platform.pki, platform.network
    pki.make_authority()
    names = ["localhost", "kubernetes.default.svc", "kubernetes.default"]
    addresses = ["127.0.0.1", network.node, network.kubernetes_service, *names]
    pki.issue("apiserver", "/CN=kube-apiserver", addresses)
    for user, subject in USERS.items():
        # The kubelet also listens, for logs and exec.
        pki.issue(user, subject, [network.node, NODE] if user == "kubelet" else ())
        platform.kubeconfig(user).touch(mode=0o600)
        platform.kubeconfig(user).write_text(_kubeconfig(platform, user))


def _kubeconfig(platform: Platform, user: str) -> str:
    pki = platform.pki
    who = {
        "client-certificate": str(pki.certificate(user)),
        "client-key": str(pki.key(user)),
    }
    where = {
        "server": f"https://{platform.api_server}",
        "certificate-authority": str(pki.authority),
    }
    value = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "native", "cluster": where}],
        "users": [{"name": user, "user": who}],
        "contexts": [{"name": "native", "context": {"cluster": "native", "user": user}}],
        "current-context": "native",
    }
    return json.dumps(value, indent=1)


def etcd(platform: Platform) -> Unit:
    """The store, without fsync: a test's cluster need not survive a power failure."""
    peer = "http://127.0.0.1:2380"
    return Unit(
        "etcd",
        [
            str(binary("etcd")),
            f"--data-dir={platform.folder / 'etcd'}",
            f"--listen-client-urls=http://{ETCD}",
            f"--advertise-client-urls=http://{ETCD}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--quota-backend-bytes=8589934592",
            "--log-level=warn",
        ],
    )


def kube_apiserver(platform: Platform) -> Unit:
    """The API server, with an audit log of every request."""
    pki = platform.pki
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    }
    return Unit(
        "kube-apiserver",
        [
            str(binary("kube-apiserver")),
            f"--etcd-servers=http://{ETCD}",
            "--secure-port=6443",
            f"--advertise-address={platform.network.node}",
            f"--client-ca-file={pki.authority}",
            f"--tls-cert-file={pki.certificate('apiserver')}",
            f"--tls-private-key-file={pki.key('apiserver')}",
            f"--service-cluster-ip-range={platform.network.services}",
            f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
            f"--service-account-key-file={pki.folder / 'accounts.pub'}",
            f"--service-account-signing-key-file={pki.key('accounts')}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            # `tests/documented` changes the sizes of pods by a policy.
            # Image volumes are on by default since 1.35.
            "--feature-gates=MutatingAdmissionPolicy=true,ImageVolume=true",
            "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
            "--allow-privileged=true",
            f"--kubelet-client-certificate={pki.certificate('admin')}",
            f"--kubelet-client-key={pki.key('admin')}",
            f"--kubelet-certificate-authority={pki.authority}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={platform.write_json('audit-policy.json', policy)}",
            f"--audit-log-path={platform.audit_log}",
            # In megabytes: requests in a rotated log would not be counted.
            "--audit-log-maxsize=100000",
            "--v=1",
        ],
        after=(ETCD,),
    )


def kube_controller_manager(platform: Platform) -> Unit:
    """The controllers, including garbage collection."""
    pki, config = platform.pki, str(platform.kubeconfig("kube-controller-manager"))
    return Unit(
        "kube-controller-manager",
        [
            str(binary("kube-controller-manager")),
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--root-ca-file={pki.authority}",
            f"--service-account-private-key-file={pki.key('accounts')}",
            f"--cluster-cidr={platform.network.pods}",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ],
        after=(platform.api_server,),
    )


def kube_scheduler(platform: Platform) -> Unit:
    """The scheduler."""
    config = str(platform.kubeconfig("kube-scheduler"))
    return Unit(
        "kube-scheduler",
        [
            str(binary("kube-scheduler")),
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--leader-elect=false",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ],
        after=(platform.api_server,),
    )


def containerd(platform: Platform, pause: str) -> Unit:
    """The container runtime; ``pause`` names the image that holds a pod's namespaces."""
    config = f"""\
version = 3
root = "{platform.folder / "containerd"}"
state = "{platform.folder / "containerd-state"}"
[grpc]
  address = "{platform.containerd_socket}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{pause}"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{_registries(platform)}"
[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE no process may get a score below its parent's, and no pod starts.
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  # There may be another version in the PATH.
  runtime_path = "{runtime_program("containerd-shim-runc-v2")}"
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "{platform.folder / "cni"}"
[plugins."io.containerd.metadata.v1.bolt"]
  # A test's cluster need not survive a power failure.
  no_sync = true
[plugins."io.containerd.nri.v1.nri"]
  disable = true
"""
    (platform.folder / "cni").mkdir(exist_ok=True)
    (platform.folder / "cni" / "10-bridge.conflist").write_text(_cni(platform))
    return Unit(
        "containerd",
        [runtime_program("containerd"), "--config", platform.write("containerd.toml", config)],
    )


def _registries(platform: Platform) -> Path:
    """Write that the registry of tests speaks plain HTTP: containerd 2.1 expects TLS."""
    folder = platform.folder / "registries"
    host = folder / LOOPBACK_REGISTRY
    host.mkdir(parents=True, exist_ok=True)
    (host / "hosts.toml").write_text(f'server = "http://{LOOPBACK_REGISTRY}"\n')
    return folder


def _cni(platform: Platform) -> str:
    """The pods' network: one bridge, created beforehand since the cluster's DNS listens on it."""
    ranges = [[{"subnet": platform.network.pods, "gateway": platform.network.gateway}]]
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(platform.folder / "ipam"),
            "ranges": ranges,
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": plugins})


def kubelet(platform: Platform) -> Unit:
    """The kubelet of the only real node."""
    resolv = platform.write("resolv.conf", f"nameserver {platform.network.gateway}\n")
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{platform.containerd_socket}",
        "featureGates": {"ImageVolume": True},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": platform.cgroup,
        "failSwapOn": False,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(platform.pki.authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(platform.pki.certificate("kubelet")),
        "tlsPrivateKeyFile": str(platform.pki.key("kubelet")),
        "clusterDNS": [platform.network.gateway],
        "clusterDomain": DOMAIN,
        "resolvConf": resolv,
        "maxPods": 240,
        "podLogsDir": str(platform.folder / "pod-logs"),
        # Pods must not be evicted because other programs fill the disk.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }
    return Unit(
        "kubelet",
        [
            str(binary("kubelet")),
            f"--config={platform.write_json('kubelet.json', config)}",
            f"--kubeconfig={platform.kubeconfig('kubelet')}",
            f"--root-dir={platform.folder / 'kubelet'}",
            f"--hostname-override={NODE}",
            f"--node-ip={platform.network.node}",
            "--node-labels=daskjob.test/node=real",
        ],
        # Without containerd it exits; without the API server it waits before it retries.
        after=(str(platform.containerd_socket), platform.api_server),
    )


def kube_proxy(platform: Platform) -> Unit:
    """The proxy for the addresses of Services."""
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(platform.kubeconfig("kube-proxy"))},
        "mode": "iptables",
        "clusterCIDR": platform.network.pods,
        "hostnameOverride": NODE,
        # Do not change the machine's settings.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s"}
        | {"tcpCloseWaitTimeout": "0s"},
    }
    return Unit(
        "kube-proxy",
        [str(binary("kube-proxy")), f"--config={platform.write_json('kube-proxy.json', config)}"],
        after=(platform.api_server,),
    )


def coredns(platform: Platform) -> Unit:
    """The cluster's DNS, without a cache: a name exists as soon as its Service does."""
    corefile = f"""\
.:53 {{
    bind {platform.network.gateway}
    errors
    ready 127.0.0.1:8181
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {platform.kubeconfig("coredns")}
        ttl 1
    }}
}}
"""
    return Unit(
        "coredns",
        [str(binary("coredns")), "-conf", platform.write("Corefile", corefile)],
        after=(platform.api_server,),
    )
