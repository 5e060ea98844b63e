"""Which network addresses a source may be read from: public ones, private ones where declared, others never."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal

from orchestrai.errors import StorageError

Reach = Literal["public", "loopback", "private", "link-local", "metadata", "reserved"]
# where clouds hand out the credentials of a machine; some of these addresses look public or private
_METADATA = frozenset(
    ip_address(text)
    for text in ("169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
_NAT64 = ip_network("64:ff9b::/96")
_DECLARABLE = ("loopback", "private")


def reach_of(address: str) -> Reach:
    """What kind of place an IP address is; one that wraps an IPv4 address is what that is. Raises ValueError for none."""
    return _reach(ip_address(address.partition("%")[0]))


def _reach(address: IPv4Address | IPv6Address) -> Reach:
    inner = _wrapped(address)
    if inner is not None:
        return _reach(inner)
    if address in _METADATA:
        return "metadata"
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_unspecified or address.is_multicast:
        return "reserved"
    return "public" if address.is_global else "private"


def _wrapped(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def check_reach(address: str, host: str, *, private: bool) -> None:
    """Raise StorageError for an address that `host` stands for and that must not be asked."""
    reach = reach_of(address)
    if reach == "public" or (private and reach in _DECLARABLE):
        return
    remedy = (
        "declare http.allow_private: true for a service of your own" if reach in _DECLARABLE else "no declaration allows it"
    )
    raise StorageError(f"expected a public address for {host}, found {address} ({reach}): {remedy}")


def check_host(host: str, port: int, *, private: bool) -> None:
    """Raise StorageError when any address of a host must not be asked; a name that does not resolve is left to the connection."""
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return
    for *_, place in answers:
        check_reach(str(place[0]), host, private=private)


def literal_reach(host: str) -> Reach | None:
    """What a host that needs no name service is; None for a name."""
    if host.rstrip(".").lower() == "localhost" or host.rstrip(".").lower().endswith(".localhost"):
        return "loopback"
    try:
        return reach_of(host)
    except ValueError:
        return None
