"""Reserved ports: only the process that they are reserved for gets them."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daskjob.backends.local import ports

linux_only = pytest.mark.skipif(
    not ports.HELD_WHILE_USED, reason="only Linux lets a bound port be used by another socket"
)
#: From <linux/in.h>: restricts the ports that one socket can get, since Linux 6.3.
IP_LOCAL_PORT_RANGE = 51


@contextlib.contextmanager
def tcp(*, reuse: bool) -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        yield made


def only(port: int) -> bytes:
    """Return the range that consists of this port."""
    return struct.pack("=I", port << 16 | port)


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_the_requested_number_of_different_ports_is_reserved() -> None:
    with ports.reserve(50) as reserved:
        assert len(set(reserved.ports)) == 50
        assert all(0 < port < 65536 for port in reserved.ports)


def test_no_ports_can_be_reserved() -> None:
    with ports.reserve(0) as reserved:
        assert reserved.ports == ()


def test_reserved_ports_of_two_runs_are_different() -> None:
    with ports.reserve(200) as one, ports.reserve(200) as other:
        assert not set(one.ports) & set(other.ports)


def test_no_socket_listens_at_a_reserved_port() -> None:
    with ports.reserve(1) as reserved:
        assert not accepts(reserved.ports[0])


@linux_only
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", ""])
def test_a_socket_with_reuseaddr_can_listen_at_a_reserved_port(address: str) -> None:
    with ports.reserve(1) as reserved:
        for _ in range(3):  # a process that restarts, too
            with tcp(reuse=True) as server:
                server.bind((address, reserved.ports[0]))
                server.listen()
                assert accepts(reserved.ports[0])


@linux_only
def test_a_second_listener_at_a_used_port_is_rejected() -> None:
    with ports.reserve(1) as reserved, tcp(reuse=True) as server, tcp(reuse=True) as second:
        server.bind(("127.0.0.1", reserved.ports[0]))
        server.listen()
        with pytest.raises(OSError, match="in use"):
            second.bind(("127.0.0.1", reserved.ports[0]))


def test_a_socket_without_reuseaddr_is_rejected() -> None:
    with (
        ports.reserve(1) as reserved,
        tcp(reuse=False) as other,
        pytest.raises(OSError, match="in use"),
    ):
        other.bind(("127.0.0.1", reserved.ports[0]))


@linux_only
@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_the_kernel_assigns_a_reserved_port_to_none_of_4000_others(
    reuse: bool, address: str
) -> None:
    with ports.reserve(20) as reserved, contextlib.ExitStack() as others:
        given = set()
        for _ in range(4000):
            other = others.enter_context(tcp(reuse=reuse))
            other.bind((address, 0))
            given.add(other.getsockname()[1])
            if len(given) % 500 == 0:  # more descriptors may not be allowed
                others.pop_all().close()
        assert not given & set(reserved.ports)


@linux_only
@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_the_kernel_fails_rather_than_assign_a_reserved_last_port(
    reuse: bool, address: str
) -> None:
    with ports.reserve(1) as reserved, tcp(reuse=reuse) as other:
        port = reserved.ports[0]
        try:
            other.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, only(port))
        except OSError:
            pytest.skip("this kernel cannot narrow the range of one socket")
        with pytest.raises(OSError, match="in use"):
            other.bind((address, 0))
        reserved.release()
        other.bind((address, 0))
        assert other.getsockname()[1] == port


@linux_only
def test_an_outgoing_connection_never_comes_from_a_reserved_port() -> None:
    with ports.reserve(1) as reserved, tcp(reuse=True) as server, tcp(reuse=False) as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = reserved.ports[0]
        try:
            client.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, only(port))
        except OSError:
            pytest.skip("this kernel cannot narrow the range of one socket")
        with pytest.raises(OSError, match="Cannot assign"):
            client.connect(server.getsockname())


def test_a_released_port_can_be_used_without_reuseaddr() -> None:
    with ports.reserve(2) as reserved, tcp(reuse=False) as other:
        first, second = reserved.ports
        reserved.release(first)
        reserved.release(first)
        other.bind(("127.0.0.1", first))
        with tcp(reuse=False) as third, pytest.raises(OSError, match="in use"):
            third.bind(("127.0.0.1", second))


def test_making_way_keeps_the_port_reserved_where_the_system_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ports.reserve(1) as reserved, tcp(reuse=False) as other:
        monkeypatch.setattr(ports, "HELD_WHILE_USED", True)
        reserved.make_way(*reserved.ports)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", reserved.ports[0]))
        monkeypatch.setattr(ports, "HELD_WHILE_USED", False)
        reserved.make_way(*reserved.ports)
        other.bind(("127.0.0.1", reserved.ports[0]))


def test_a_child_process_does_not_inherit_the_reservation() -> None:
    with ports.reserve(5) as reserved:
        count = "import os; print(len(os.listdir('/dev/fd')))"
        command = [sys.executable, "-I", "-S", "-c", count]
        with_them = subprocess.check_output(command, close_fds=False)
        reserved.release()
        assert with_them == subprocess.check_output(command, close_fds=False)


@linux_only
def test_a_real_scheduler_and_its_dashboard_listen_at_reserved_ports(
    tmp_path: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    with ports.reserve(2) as reserved, (tmp_path / "log").open("wb") as log:
        comm, dashboard = reserved.ports
        reserved.make_way(comm, dashboard)
        scheduler = subprocess.Popen(
            [
                *(sys.executable, "-m", "distributed.cli.dask_scheduler"),
                *("--host", "127.0.0.1", "--port", str(comm)),
                *("--dashboard-address", f"127.0.0.1:{dashboard}"),
            ],
            stdout=log,
            stderr=log,
            cwd=tmp_path,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        try:
            address = f"tcp://127.0.0.1:{comm}"
            # It logs its address shortly after it listens.
            eventually(
                lambda: (
                    scheduler.poll() is not None
                    or (accepts(dashboard) and address in (tmp_path / "log").read_text())
                )
            )
            output = (tmp_path / "log").read_text()
            assert scheduler.poll() is None, output
            assert address in output
            assert accepts(comm)
            assert "already in use" not in output
            health = f"http://127.0.0.1:{dashboard}/health"
            with urllib.request.urlopen(health, timeout=10) as answer:
                assert answer.status == 200
            with tcp(reuse=False) as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", comm))
        finally:
            scheduler.kill()
            scheduler.wait()
