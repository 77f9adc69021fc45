"""Which addresses webhooks may be sent to: public ones, unless the company allows its own network.

Whoever may add a webhook names a host, and the service then talks to it from inside the company's network. So the host is
resolved here, every address that it has is checked, and the sender connects to a checked address: a name that resolves to
something else a moment later (DNS rebinding) is not asked again.
"""

import ipaddress
import socket
from dataclasses import dataclass

import httpx

_ALLOW = "set webhooks_to_private_addresses = true under [service] in kunto.toml to allow the company's own network"

#: IPv4 that is not on the public internet: IANA's special-purpose registry and multicast; the last is Azure's host, which
#: hands out credentials on a public number. Other clouds' metadata lie in link-local, shared and protocol addresses.
_NOT_PUBLIC_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
            *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
        ),
    )
)
#: All of IPv6 that is routed publicly: what maps, embeds or translates IPv4 (::ffff:0:0/96, 64:ff9b::/96 …) lies outside it.
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
#: Inside it: protocols (Teredo among them), documentation, and 6to4, which embeds IPv4.
_NOT_PUBLIC_V6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))


class AddressRefusedError(ValueError):
    """The URL is none that a webhook may be sent to; the message says why and what to do."""


@dataclass(frozen=True)
class Target:
    """A URL with the addresses that its host had when it was checked, in the order to try them."""

    url: httpx.URL
    addresses: tuple[str, ...]


def target(url: str, *, allow_private: bool) -> Target:
    """Check a webhook's URL, resolve its host, check every address, and return them. Asks DNS; may take seconds.

    Raises AddressRefusedError for a URL that is not http(s), is not https or leads to an address that is not public (both
    unless `allow_private`), holds a user or password, or does not resolve.

    >>> target("https://169.254.169.254/latest/meta-data", allow_private=False)
    Traceback (most recent call last):
    serving.addresses.AddressRefusedError: 169.254.169.254 is not a public address; ...
    """
    parsed = _parsed(url, ("https", "http") if allow_private else ("https",))
    found = _resolved(parsed)
    if not allow_private and (private := [address for address in found if not is_public(address)]):
        host = parsed.host.strip("[]")
        named = private[0] if host == private[0] else f"{host[:100]} is at {private[0]}, which"
        raise AddressRefusedError(f"{named} is not a public address; give a public host, or {_ALLOW}")
    return Target(parsed, found)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet; those that hide an IPv4 address are not.

    >>> is_public("93.184.215.14"), is_public("100.100.100.200"), is_public("::ffff:93.184.215.14")
    (True, False, False)
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _NOT_PUBLIC_V4)
    return ip in _PUBLIC_V6 and not any(ip in network for network in _NOT_PUBLIC_V6)


def _parsed(url: str, schemes: tuple[str, ...]) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise AddressRefusedError(f"{url[:100]!r} is no URL ({error}); give one such as https://example.com/hook") from error
    if parsed.scheme not in schemes:
        also = "" if "http" in schemes else f"; for http, {_ALLOW}"
        raise AddressRefusedError(f"a webhook's URL begins with {' or '.join(schemes)}, not {parsed.scheme[:20]!r}{also}")
    if parsed.userinfo:
        raise AddressRefusedError("a webhook's URL holds no user or password; the receiver checks the signature instead")
    if not parsed.host or (parsed.port is not None and not 0 < parsed.port < 2**16):
        raise AddressRefusedError(f"{url[:100]!r} names no host, or no port that exists; give https://example.com/hook")
    return parsed


def _resolved(url: httpx.URL) -> tuple[str, ...]:
    try:
        # The resolver reads 0x7f.1 and 2130706433 as the addresses that a connection would go to.
        found = socket.getaddrinfo(url.raw_host.decode(), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressRefusedError(f"the host {url.host[:100]!r} does not resolve; check its name") from error
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))
