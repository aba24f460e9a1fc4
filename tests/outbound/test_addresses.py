"""Which addresses may be spoken to, on every Python."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.addresses import Policy, embedded, is_public

PRIVATE = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
]
# Where `ipaddress` of one Python or another says "global".
HOLES = [
    *("::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "192.0.0.192", "192.0.0.9"),
    *("168.63.129.16", "224.0.0.1", "ff02::1", "ff0e::1", "fec0::1", "2606:4700::5efe:7f00:1", "::ffff:0:127.0.0.1"),
    *("2001::7f00:1", "192.88.99.1", "::ffff:127.0.0.1", "fe80::5efe:10.0.0.1", "2001:1::1", "2001:20::1"),
]
private = st.sampled_from(PRIVATE).flatmap(lambda network: st.ip_addresses(v=4, network=network)).map(int)
bits = st.integers(0, (1 << 128) - 1)


def keep(value: int, low: int, high: int) -> int:
    """The bits from `low` to `high`, in their place."""
    return value & ((1 << high) - (1 << low))


EMBEDDINGS = {
    "compatible": lambda v4, rest: v4,
    "mapped": lambda v4, rest: 0xFFFF << 32 | v4,
    "translated": lambda v4, rest: 0xFFFF << 48 | v4,
    "NAT64": lambda v4, rest: 0x64FF9B << 96 | v4,
    "local NAT64": lambda v4, rest: 0x64FF9B_0001 << 80 | keep(rest, 32, 80) | v4,
    "local NAT64, /48": lambda v4, rest: (
        0x64FF9B_0001 << 80 | (v4 >> 16) << 64 | (v4 & 0xFFFF) << 40 | keep(rest, 0, 40)
    ),
    "6to4": lambda v4, rest: 0x2002 << 112 | v4 << 80 | keep(rest, 0, 80),
    "Teredo server": lambda v4, rest: 0x20010000 << 96 | v4 << 64 | keep(rest, 0, 64),
    "Teredo client": lambda v4, rest: 0x20010000 << 96 | keep(rest, 32, 96) | v4 ^ 0xFFFFFFFF,
    "ISATAP": lambda v4, rest: keep(rest, 64, 128) | 0x00005EFE << 32 | v4,
    "ISATAP, universal": lambda v4, rest: keep(rest, 64, 128) | 0x02005EFE << 32 | v4,
}


@pytest.mark.parametrize("kind", EMBEDDINGS)
@given(v4=private, rest=bits)
def test_no_embedding_of_a_private_address_passes(kind: str, v4: int, rest: int) -> None:
    address = IPv6Address(EMBEDDINGS[kind](v4, rest))
    assert not Policy().permits(str(address), 80)
    # Nor where somebody has opened all of IPv6, for the sake of a NAT64 of his own.
    if address != IPv6Address("::1"):
        assert IPv4Address(v4) in embedded(address)
        assert not Policy(["::/0"]).permits(str(address), 80)


@given(bits.map(IPv6Address) | st.ip_addresses())
def test_nothing_passes_that_python_holds_for_special(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert not Policy().permits(str(address), 443)


@pytest.mark.parametrize("address", HOLES)
def test_the_holes_are_closed_even_if_python_calls_everything_global(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (IPv4Address, IPv6Address):
        monkeypatch.setattr(kind, "is_global", True)
    assert not Policy().permits(address, 80)
    for network in map(IPv4Network, PRIVATE):
        assert not is_public(network[0])
        assert not is_public(network[-1])


@pytest.mark.parametrize("address", ["93.184.215.14", "1.1.1.1", "223.255.255.254", "2606:4700::1111", "2a00:1450::1"])
def test_the_public_internet_passes_on_its_two_ports(address: str) -> None:
    assert is_public(ip_address(address))
    assert [port for port in (22, 80, 443, 8080) if Policy().permits(address, port)] == [80, 443]


@pytest.mark.parametrize(
    "address", ["2002:808:808::1", "64:ff9b::808:808", "::ffff:8.8.8.8", "::8.8.8.8", "2001:0:808:808::f7f7:f7f7"]
)
def test_a_translator_is_not_the_public_internet_even_if_it_leads_there(address: str) -> None:
    assert not Policy().permits(address, 80)


@pytest.mark.parametrize("text", ["", "nobody", "127.0.0.1:80", "1.2.3", "0x7f.1", "::1%", "[::1]"])
def test_what_is_no_address_does_not_pass(text: str) -> None:
    assert not Policy(["0.0.0.0/0", "::/0"]).permits(text, 80)


def test_a_named_network_passes_on_every_port_and_nothing_beside_it() -> None:
    policy = Policy(["10.1.0.0/16", "::1/128", "fd00::/8"])
    for address in ("10.1.2.3", "::1", "fd00::5"):
        assert policy.permits(address, 8080)
    for address in ("10.2.0.1", "::ffff:10.1.2.3", "127.0.0.1", "::2"):
        assert not policy.permits(address, 80)


def test_behind_a_nat64_that_is_named_the_public_internet_passes_and_the_private_does_not() -> None:
    policy = Policy(["64:ff9b::/96"])
    assert policy.permits("64:ff9b::5db8:d70e", 443)
    assert not policy.permits("64:ff9b::a00:1", 443)
    assert not policy.permits("64:ff9b::a9fe:a9fe", 80)
    assert Policy(["64:ff9b::/96", "10.0.0.0/8"]).permits("64:ff9b::a00:1", 443)


def test_zones_do_not_open_anything() -> None:
    for address in ("fe80::1%lo", "::1%lo", "2606:4700::5efe:7f00:1%lo"):
        assert not Policy().permits(address, 80)
