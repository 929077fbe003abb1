from __future__ import annotations

import pytest

from makeready.addresses import check_url, is_near, is_public


def words(text: str) -> list[str]:
    return text.split()


PRIVATE = words("""
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16
169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1
198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:0.0.0.0 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:169.254.169.254
::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::a00:1 64:ff9b:1::8.8.8.8 100::1 2001::1
2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1 2002:7f00:1:: 2002:808:808:: 3fff::1 5f00::1
fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 ff0e::1
""")
PUBLIC = words("""
1.1.1.1 8.8.8.8 93.184.216.34 172.32.0.1 2606:4700::1111 2a00:1450:4001::200e
::ffff:8.8.8.8 64:ff9b::8.8.8.8
""")
URL = "https://example.com/hook"


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_a_network_of_ones_own_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


MACHINES = words("""
169.254.169.254 169.254.170.2 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe fe80::1 fe80::1%eth0
fd00:ec2::254 168.63.129.16 100.100.100.200
""")


@pytest.mark.parametrize("address", [*MACHINES, "", "localhost"])
def test_what_clouds_tell_a_machine_is_in_nobodys_network(address: str) -> None:
    assert not is_near(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "192.168.0.9", "::1", "fd12::1"])
def test_a_network_of_ones_own_is_near(address: str) -> None:
    assert is_near(address)


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "1.2.3.4.5", "x::1", "2130706433"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize(
    "url", [URL, "https://example.com:8443/a?b=c%20d", "https://8.8.8.8/", "https://пример.рф/x"]
)
def test_a_url_of_the_internet_passes(url: str) -> None:
    assert check_url(url, private=False) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "http://example.com",
        "ftp://example.com",
        "https://",
        "https:///path",
        "https://me:pw@example.com",
        "https://example.com#part",
        "https://example.com:0",
        "https://example.com:99999",
        "https://[::1",
        "https://exa mple.com",
        "https://example.com/\n",
        "https://example.com\\@127.0.0.1",
        f"https://example.com/{'x' * 2000}",
        "https://localhost",
        "https://127.0.0.1",
        "https://127.1",
        "https://2130706433",
        "https://0x7f000001",
        "https://0177.0.0.1",
        "https://0",
        "https://0.0.0.0",
        "https://[::1]:80",
        "https://[::ffff:10.0.0.1]",
        "https://[fe80::1%25eth0]",
        "https://169.254.169.254/latest/meta-data",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        check_url(url, private=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/hook", "https://localhost/", URL])
def test_development_lets_ones_own_network_pass(url: str) -> None:
    assert check_url(url, private=True) == url


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://me@127.0.0.1", "http://"])
def test_development_does_not_let_everything_pass(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        check_url(url, private=True)
