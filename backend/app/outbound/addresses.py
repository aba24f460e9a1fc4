"""Which addresses may be spoken to: those of the public internet, and those that the operator has named.

What `ipaddress` calls global differs from one Python to the next, and holds addresses that lead inside: NAT64, ISATAP,
IPv4 in IPv6 clothes, multicast, a cloud's own. So the lists are ours, out of IANA's registries of special-purpose
addresses, and `ipaddress` is asked besides.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORTS = frozenset({80, 443})  # of public addresses; any port of those that the operator has named

_SPECIAL: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
            "100.64.0.0/10",  # carriers' NAT; Alibaba's metadata
            "168.63.129.16/32",  # Azure's own
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata
            *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),  # documentation
            *("192.31.196.0/24", "192.175.48.0/24", "192.52.193.0/24"),  # AS112, AMT
            "192.88.99.0/24",  # 6to4 relays
            "198.18.0.0/15",  # benchmarks
            *("224.0.0.0/4", "240.0.0.0/4"),  # multicast; reserved, with broadcast
            "2001::/23",  # protocol assignments: Teredo, ORCHID …
            *("2001:db8::/32", "3fff::/20"),  # documentation
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
        ),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all of IPv6 that is handed out; everything else is special

_LAST_32_BITS = tuple(  # … are an IPv4 address
    map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"))
)
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_6TO4 = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_ISATAP = {0x0000_5EFE, 0x0200_5EFE}
_LOOPBACK = IPv6Address("::1")
_32_BITS = 0xFFFF_FFFF


class Policy:
    """Public addresses on the web's two ports, and named networks on every port."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = tuple(map(ip_network, allowed))

    def permits(self, address: str, port: int) -> bool:
        """Whether one may connect there; also every IPv4 address that an IPv6 one stands for has to be permitted."""
        try:
            read = ip_address(address)
        except ValueError:
            return False
        return all(self._permits(face, port) for face in (read, *embedded(read)))

    def _permits(self, address: Address, port: int) -> bool:
        return any(address in network for network in self._allowed) or (port in PORTS and is_public(address))


def is_public(address: Address) -> bool:
    """Whether it is an address of the public internet, taken by itself."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not any(address in network for network in _SPECIAL)


def embedded(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that an IPv6 address leads to, wherever such a translator stands."""
    if isinstance(address, IPv4Address) or address == _LOOPBACK:
        return
    bits = int(address)
    if any(address in network for network in _LAST_32_BITS) or (bits >> 32 & _32_BITS) in _ISATAP:
        yield IPv4Address(bits & _32_BITS)
    if address in _LOCAL_NAT64:  # RFC 6052: 16 bits on either side of an octet that is zero
        yield IPv4Address((bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF)
    if address in _6TO4:
        yield IPv4Address(bits >> 80 & _32_BITS)
    if address in _TEREDO:  # its server, and its client in reverse
        yield IPv4Address(bits >> 64 & _32_BITS)
        yield IPv4Address(~bits & _32_BITS)
