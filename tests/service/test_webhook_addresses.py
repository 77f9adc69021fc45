"""Webhooks reach no address inside the company's network, by whatever name, and go to the address that was checked."""

import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from webhook_receiver import receiving

from serving import addresses
from serving.settings import ServiceSettings
from serving.store import Store
from serving.webhooks import Deliverer

PRIVATE = (
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.31.0.1"),
    *("192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "239.1.1.1"),
    *("240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:93.184.215.14", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1"),
    *(
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ),
)
PUBLIC = ("8.8.8.8", "93.184.215.14", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450:4026::200e")
#: Other ways to write 127.0.0.1 (and 0.0.0.0, 10.0.0.1) that resolvers take.
DISGUISED = (
    *("2130706433", "017700000001", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "0177.0x0.0.1", "0", "012.1"),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "localhost", "①②⑦.⓪.⓪.①", "127.0.0.1."),
)
Resolve = Callable[..., list[str]]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """A function that gives a name its addresses, one list per look-up (the last one stays); returns the look-ups made."""
    known: dict[str, list[list[str]]] = {}
    asked: list[str] = []
    real = socket.getaddrinfo

    def looked_up(host: str, port: object, *arguments: object, **options: object) -> list:
        if host not in known:
            return real(host, port, *arguments, **options)
        asked.append(host)
        found = known[host].pop(0) if len(known[host]) > 1 else known[host][0]
        return [entry for address in found for entry in real(address, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)

    def give(name: str, *found: list[str]) -> list[str]:
        known[name] = list(found)
        return asked

    return give


def refused(url: str, *, allow_private: bool = False) -> str:
    with pytest.raises(addresses.AddressRefusedError) as caught:
        addresses.target(url, allow_private=allow_private)
    return str(caught.value)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused_and_told_what_to_do(address):
    host = f"[{address}]" if ":" in address else address
    message = refused(f"https://{host}/hook")
    assert "is not a public address" in message
    assert "webhooks_to_private_addresses = true" in message
    assert not addresses.is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_taken(address):
    host = f"[{address}]" if ":" in address else address
    assert addresses.target(f"https://{host}:8443/hook", allow_private=False).addresses == (address,)


@pytest.mark.parametrize("host", DISGUISED)
def test_no_disguise_helps(host):
    # some are no host for the URL's parser already, some none for the resolver: none comes through
    refused(f"https://{host}/hook")


def test_a_name_that_leads_inside_is_refused(resolve):
    resolve("inside.example", ["127.0.0.1"])
    assert refused("https://inside.example/").startswith("inside.example is at 127.0.0.1, which is not a public address")


@pytest.mark.parametrize("found", [["93.184.215.14", "10.0.0.1"], ["2606:4700::1111", "::1"]])
def test_every_address_of_a_name_must_be_public(resolve, found):
    resolve("both.example", found)
    assert found[1] in refused("https://both.example/")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://93.184.215.14/", "begins with https, not 'http'"),
        ("ftp://93.184.215.14/", "begins with https, not 'ftp'"),
        ("file:///etc/passwd", "begins with https, not 'file'"),
        ("93.184.215.14/hook", "begins with https, not ''"),
        ("https:///hook", "names no host"),
        ("https://93.184.215.14:99999/", "no port that exists"),
        ("https://93.184.215.14:0/", "no port that exists"),
        ("https://me:secret@93.184.215.14/", "no user or password"),
        ("https://93.184.215.14\n/", "is no URL"),
        ("https://nowhere.invalid/", "does not resolve"),
        (f"https://{'a' * 80}.example/", "does not resolve"),
    ],
)
def test_a_url_that_cannot_be_used_says_why(url, told, monkeypatch):
    real = socket.getaddrinfo

    def offline(host: str, *arguments: object, **options: object) -> list:
        if host.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    assert told in refused(url)
    assert "secret" not in refused(url)


def test_where_private_addresses_are_allowed_http_is_too():
    assert addresses.target("http://127.0.0.1:1/", allow_private=True).addresses == ("127.0.0.1",)
    assert "begins with https or http" in refused("gopher://127.0.0.1/", allow_private=True)


# At delivery


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "kunto.db") as opened:
        yield opened


def deliver(store: Store, *, allow_private: bool) -> str | None:
    """Deliver one event, and return its error."""
    store.outbox.announce("play.started", {})
    Deliverer(store, ServiceSettings(webhooks_to_private_addresses=allow_private)).deliver_due()
    with store._database.reading() as connection:
        return connection.exec_driver_sql("SELECT last_error FROM deliveries").scalar()


def test_a_name_that_leads_inside_later_is_refused_at_delivery(files, resolve):
    asked = resolve("moved.example", ["93.184.215.14"], ["127.0.0.1"])
    with receiving() as receiver:
        url = f"https://moved.example:{receiver.url.rpartition(':')[2]}/"
        addresses.target(url, allow_private=False)
        files.outbox.subscribe(url, ["play.started"], created_by="key:k1")
        assert deliver(files, allow_private=False).startswith("moved.example is at 127.0.0.1, which is not a public")
        assert not receiver.came.is_set()
    assert asked == ["moved.example", "moved.example"]


def test_the_connection_goes_to_the_address_that_was_checked(files, resolve):
    # a second look-up would lead elsewhere
    asked = resolve("rebound.example", ["127.0.0.1"], ["127.0.0.2"])
    with receiving(host="rebound.example") as receiver:
        _, receiver.secret = files.outbox.subscribe(receiver.url, ["play.started"], created_by="key:k1")
        assert deliver(files, allow_private=True) is None
        assert receiver.hosts == [receiver.url.removeprefix("http://")]
        assert len(receiver.verified) == 1
    assert asked == ["rebound.example"]


def test_the_next_address_is_tried_where_one_does_not_answer(files, resolve):
    resolve("twice.example", ["127.0.0.2", "127.0.0.1"])  # nobody listens at the first
    with receiving(host="twice.example") as receiver:
        _, receiver.secret = files.outbox.subscribe(receiver.url, ["play.started"], created_by="key:k1")
        assert deliver(files, allow_private=True) is None
        assert len(receiver.verified) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of hooks.example, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.example")])
    at = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), at, at + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "hooks.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.public_bytes(pem))
    return path


@pytest.mark.parametrize(
    ("name", "trusted", "error"),
    [
        ("hooks.example", True, None),
        ("other.example", True, "certificate is not valid for 'other.example'"),
        ("hooks.example", False, "certificate verify failed"),
    ],
)
def test_the_certificate_is_checked_by_name_not_by_address(files, resolve, certificate, monkeypatch, name, trusted, error):
    resolve(name, ["127.0.0.1"])
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    asked_for: list[str | None] = []
    tls.sni_callback = lambda _socket, server_name, _context: asked_for.append(server_name)
    with receiving(tls, host=name) as receiver:
        _, receiver.secret = files.outbox.subscribe(receiver.url, ["play.started"], created_by="key:k1")
        told = deliver(files, allow_private=True)
    assert asked_for == [name]
    if error is None:
        assert told is None
        assert len(receiver.verified) == 1
    else:
        assert error in told
        assert receiver.verified == []
