"""The tests talk to nobody: what the guard in conftest.py stops."""

import os
import socket
import urllib.request

import pytest

from tests.conftest import is_local


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("127.0.0.1", 80), True),
        (("::1", 80, 0, 0), True),
        (("localhost", 80), True),
        ("/run/a.socket", True),
        (("192.0.2.1", 80), False),
        (("2001:db8::1", 80, 0, 0), False),
        (("example.org", 80), False),
        (("0.0.0.0", 80), False),
    ],
)
def test_only_this_machine_is_local(address: object, expected: bool) -> None:
    assert is_local(address) == expected


def test_the_guard_stops_every_way_out(attempts: list[object]) -> None:
    there = ("192.0.2.1", 9)  # an address that belongs to nobody
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket() as stream:
        for call in (
            lambda: stream.connect(there),
            lambda: stream.connect_ex(there),
            lambda: datagrams.sendto(b"x", there),
            lambda: datagrams.sendto(b"x", 0, there),
            lambda: datagrams.sendmsg([b"x"], [], 0, there),
            lambda: socket.create_connection(there, timeout=1),
            lambda: socket.getaddrinfo("example.org", 80),
            lambda: urllib.request.urlopen("http://example.org/", timeout=1),
        ):
            with pytest.raises(OSError, match="the tests may not"):
                call()
    assert len(attempts) == 8
    attempts.clear()  # otherwise this test would fail, as it should


def test_the_guard_lets_this_machine_through() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()[:2], timeout=5) as client,
    ):
        client.sendall(b"x")
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"x")
        assert right.recv(1) == b"x"


def test_a_test_that_talks_to_another_machine_fails(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("from tests.conftest import attempts")
    pytester.makepyfile(
        """
        import contextlib, socket

        def test_talk():
            with socket.socket() as out, contextlib.suppress(OSError):
                out.connect(("192.0.2.1", 9))

        def test_quiet():
            pass
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, errors=1)


def test_processes_of_the_tests_are_offline() -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
