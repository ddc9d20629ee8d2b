"""The network guard of conftest.py blocks connections, and leaves loopback alone."""

import socket
import urllib.error
import urllib.request

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("2001:db8::1", 80), ("example.org", 443)])
def test_connections_out_of_the_machine_are_refused(
    address: tuple[str, int], blocked_attempts: list[str]
):
    with pytest.raises(OSError, match="without a network"):
        socket.create_connection(address, timeout=1)
    assert blocked_attempts == [address[0]]
    blocked_attempts.clear()


def test_udp_and_name_lookups_are_refused(blocked_attempts: list[str]):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(OSError, match="without a network"),
    ):
        sock.sendto(b"x", ("192.0.2.1", 53))
    with pytest.raises(urllib.error.URLError, match="without a network"):
        urllib.request.urlopen("http://example.org", timeout=1)
    assert blocked_attempts == ["192.0.2.1", "example.org"]
    blocked_attempts.clear()


def test_a_swallowed_attempt_fails_the_test(pytester: pytest.Pytester, repo_root):
    pytester.makeconftest((repo_root / "tests" / "conftest.py").read_text())
    pytester.makepyfile(
        """
        import contextlib, socket
        def test_swallows():
            with contextlib.suppress(OSError):
                socket.create_connection(("192.0.2.1", 80), timeout=1)
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*tried to leave this machine*192.0.2.1*"])


def test_loopback_works():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=1) as client,
    ):
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
    assert socket.getaddrinfo("localhost", 80)
