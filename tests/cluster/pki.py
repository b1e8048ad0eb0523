"""Keys and certificates of a native cluster, created with openssl for its short life."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.network import run
from tests.cluster.packages import program

DAYS = 30


@dataclass(frozen=True, slots=True)
class Pki:
    """The folder of a cluster's keys: ``<name>.crt`` and ``<name>.key``."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate that signs all others."""
        return self.folder / "ca.crt"

    def certificate(self, name: str) -> Path:
        """Return the path of a certificate."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Return the path of a private key."""
        return self.folder / f"{name}.key"

    def make_authority(self) -> None:
        """Create the certificate authority, and the key pair for service account tokens."""
        self.folder.mkdir(parents=True, mode=0o700)
        self._key("ca")
        request = ["req", "-x509", "-new", "-key", str(self.key("ca")), "-subj", "/CN=ca"]
        _openssl(*request, "-days", str(DAYS), "-out", str(self.authority))
        pair = str(self.key("accounts"))
        _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", pair)
        _openssl("pkey", "-in", pair, "-pubout", "-out", str(self.folder / "accounts.pub"))

    def issue(self, name: str, subject: str, addresses: Sequence[str] = ()) -> None:
        """Issue a certificate for a subject (``/O=group/CN=user``), valid at these addresses."""
        self._key(name)
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        _openssl("req", "-new", "-key", str(self.key(name)), "-subj", subject, "-out", str(request))
        usage = "serverAuth,clientAuth" if addresses else "clientAuth"
        lines = [f"extendedKeyUsage={usage}"]
        if addresses:
            lines.append(f"subjectAltName={','.join(map(_alternative, addresses))}")
        extensions.write_text("\n".join(lines))
        signer = ["-CA", str(self.authority), "-CAkey", str(self.key("ca")), "-CAcreateserial"]
        text = ["-extfile", str(extensions), "-out", str(self.certificate(name))]
        _openssl("x509", "-req", "-in", str(request), *signer, "-days", str(DAYS), *text)

    def _key(self, name: str) -> None:
        path = str(self.key(name))
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)


def _alternative(address: str) -> str:
    return f"IP:{address}" if address.replace(".", "").isdigit() else f"DNS:{address}"


def _openssl(*arguments: str) -> None:
    run([program("openssl"), *arguments])
