"""A connection to this machine uses no proxy; a proxy between two machines is named."""

import pytest

from oneflower.proxies import direct_loopback, is_loopback, proxy_variable

PROXY = "http://proxy.example.org:3128"


@pytest.mark.parametrize("name", ["grpc_proxy", "https_proxy", "http_proxy"])
def test_the_variable_of_the_proxy_is_named(name):
    assert proxy_variable("10.0.0.5", {name: PROXY}) == name


def test_grpc_proxy_comes_first_and_an_empty_value_is_ignored():
    assert proxy_variable("10.0.0.5", {"http_proxy": PROXY, "grpc_proxy": PROXY}) == "grpc_proxy"
    assert proxy_variable("10.0.0.5", {"http_proxy": PROXY, "grpc_proxy": ""}) == "http_proxy"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "[::1]", "::1"])
def test_this_machine_is_never_behind_a_proxy(host):
    assert is_loopback(host)
    assert proxy_variable(host, {"http_proxy": PROXY}) is None


@pytest.mark.parametrize(
    ("host", "exceptions"),
    [
        ("10.0.0.5", {"no_proxy": "10.0.0.0/8"}),
        ("10.0.0.5", {"no_proxy": "example.org, 10.0.0.5"}),
        ("link.example.org", {"no_proxy": ".example.org"}),
        ("link.example.org", {"no_grpc_proxy": "example.org", "no_proxy": "elsewhere"}),
    ],
)
def test_an_exception_uses_no_proxy(host, exceptions):
    assert proxy_variable(host, {"http_proxy": PROXY, **exceptions}) is None


def test_only_an_exception_that_grpc_reads_counts():
    environ = {"http_proxy": PROXY, "no_grpc_proxy": "elsewhere", "no_proxy": "10.0.0.5"}
    assert proxy_variable("10.0.0.5", environ) == "http_proxy"


def test_children_reach_this_machine_directly_and_everything_else_as_before():
    environ = {"http_proxy": PROXY, "no_proxy": "a.org", "NO_PROXY": "a.org,b.org", "no_grpc_proxy": "c.org"}
    changed = direct_loopback(environ)
    assert changed == {
        "no_proxy": "a.org,b.org,127.0.0.1,localhost,::1",
        "NO_PROXY": "a.org,b.org,127.0.0.1,localhost,::1",
        "no_grpc_proxy": "c.org,127.0.0.1,localhost,::1",
    }
    assert direct_loopback({**environ, **changed}) == changed
