"""TLS settings from the certificates of a kubeconfig."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from dataclasses import dataclass, field

from daskjob.kube.kubeconfig_files import Stanza, Unusable


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A client certificate and its private key, as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)
    #: The field that has the certificate, for messages.
    source: str


def tls_of(cluster: Stanza, pair: KeyPair | None) -> ssl.SSLContext | bool:
    """Return the TLS settings; ``True``: those of this machine."""
    authority = pem(cluster, "certificate-authority")
    insecure = cluster.flag("insecure-skip-tls-verify")
    if insecure and authority:
        raise cluster.wrong(
            "insecure-skip-tls-verify",
            "remove it, or certificate-authority: one excludes the other",
        )
    if not (authority or insecure or pair):
        return True
    # Not ``create_default_context``: see ``credentials``.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authority:
        _trust(context, cluster, authority)
    else:
        context.load_default_certs()
    if pair:
        _present(context, pair)
    return context


def key_pair(user: Stanza) -> KeyPair | None:
    """Return the client certificate of a user; ``None``: it has none."""
    certificate, key = pem(user, "client-certificate"), pem(user, "client-key")
    if certificate is None:
        return None
    if key is None:
        raise user.wrong("client-key", "is not set, and client-certificate needs it")
    return KeyPair(certificate, key, f"{user}: client-certificate")


def pem(stanza: Stanza, name: str) -> bytes | None:
    """Return the PEM in a field's data, else in its file; ``None``: neither is set."""
    data = stanza.text(f"{name}-data")
    if not data:
        return stanza.content(name)
    if "-----BEGIN" in data:
        return data.encode()
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise stanza.wrong(f"{name}-data", "is not base64") from None


def _trust(context: ssl.SSLContext, cluster: Stanza, authority: bytes) -> None:
    try:
        context.load_verify_locations(cadata=authority.decode("ascii", "ignore"))
    except ssl.SSLError:
        raise cluster.wrong("certificate-authority", "is not a certificate in PEM") from None


def _present(context: ssl.SSLContext, pair: KeyPair) -> None:
    # Python reads keys from files only. Imported here because tokens need none.
    import tempfile

    descriptor, name = tempfile.mkstemp(prefix="daskjob-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pair.certificate + b"\n" + pair.key)
        # Without a password, OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(name, password="")
    except (ssl.SSLError, ValueError):
        raise Unusable(
            f"{pair.source}: the certificate and its key are not a pair of PEM files, or the key "
            "is encrypted"
        ) from None
    finally:
        os.unlink(name)
