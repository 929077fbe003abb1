"""Where a message of a user's choosing may be sent: to public addresses, never into our network.

A URL is looked at when it is registered, for the sake of whoever mistyped it; what counts is the
address at the moment of connecting, since a name may lead anywhere by then.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

URL_MAX = 2000
_MAPPED = (ip_network("::ffff:0:0/96"), ip_network("64:ff9b::/96"))  # the last 32 bits are IPv4
_UNICAST = ip_network("2000::/3")
_CLOSED = tuple(
    map(
        ip_network,
        (
            "168.63.129.16/32",  # what Azure's machines ask about themselves
            "192.0.0.0/24",
            "192.88.99.0/24",
            "2001::/23",  # Teredo, and others that are no hosts
            "2002::/16",  # 6to4 carries any IPv4 address
            "2001:db8::/32",
            "3fff::/20",
        ),
    )
)
_OF_THE_MACHINE = (
    ip_network("169.254.0.0/16"),  # among them what clouds tell a machine, keys included
    ip_network("fe80::/10"),
    ip_network("fd00:ec2::/32"),
    ip_network("168.63.129.16/32"),
    ip_network("100.100.100.200/32"),
)
"""What nobody means by a network of their own."""


def is_near(text: str) -> bool:
    """Whether an address may be connected to where a network of one's own is allowed."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and any(address in network for network in _MAPPED):
        return is_near(str(IPv4Address(address.packed[-4:])))
    return not any(
        address in network for network in _OF_THE_MACHINE if network.version == address.version
    )


def is_public(text: str) -> bool:
    """Whether an address, as connected to, is one of the public Internet."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if any(address in network for network in _MAPPED):
            return is_public(str(IPv4Address(address.packed[-4:])))
        if address not in _UNICAST:
            return False
    if any(address in network for network in _CLOSED if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def check_url(text: str, *, private: bool) -> str:
    """The URL, if messages may be sent there; ValueError says what would be right.

    `private` lets http and addresses of one's own network pass, for development.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # a bracket that is not closed, a port that is no number
        raise ValueError("must be https://host/path") from None
    if (
        len(text) > URL_MAX
        or not text.isprintable()
        or any(mark in text for mark in ' \\"<>^`{|}')
    ):
        raise ValueError(f"must have at most {URL_MAX} printable characters, none of them special")
    if parts.scheme not in (("https", "http") if private else ("https",)):
        raise ValueError("must begin with https://")
    if not host or port == 0 or "@" in parts.netloc or "#" in text:
        raise ValueError("must name a host, and neither a user nor a fragment")
    literal = _literal(host)
    if not private and (host.lower() == "localhost" or (literal and not is_public(literal))):
        raise ValueError("must name a host of the public Internet")
    return text


def _literal(host: str) -> str | None:
    """The address that a host is by itself, however it is written; None for a name."""
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        return str(IPv4Address(socket.inet_aton(host)))  # 127.1, 2130706433, 0x7f000001
    except OSError:
        return None
