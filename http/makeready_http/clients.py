"""Whom a throttle counts when nobody is logged in: the address that asks.

Behind a proxy it is the one that `X-Forwarded-For` names, if the proxy is a trusted one; uvicorn
has put it in place by then.
"""

from __future__ import annotations

import ipaddress

from starlette.requests import Request

NETWORK_V6 = 64
"""Bits that one subscriber of IPv6 has for all addresses."""


def client_of(request: Request) -> str:
    """The address, or the network of an address of IPv6."""
    host = request.client.host if request.client else ""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), NETWORK_V6), strict=False))
