"""As much of a Kafka broker over TLS as it takes to be told by whom a client says it is: by hand, after the protocol's guide."""

import contextlib
import io
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

HANDSHAKE, VERSIONS, AUTHENTICATE = 17, 18, 36
# the versions of each request that are answered
KNOWN = {HANDSHAKE: (0, 1), VERSIONS: (0, 0), AUTHENTICATE: (0, 0)}
TOO_NEW = 35


@dataclass
class SaslBroker:
    """Where it listens, what its certificate is, and what clients said."""

    servers: str
    ca: Path
    mechanisms: list[str] = field(default_factory=list)
    said: list[bytes] = field(default_factory=list)
    heard: threading.Event = field(default_factory=threading.Event)

    def answer(self, key: int, version: int, body: io.BytesIO) -> bytes:
        """The answer to a request, without its length and number."""
        if key == VERSIONS:
            listed = b"".join(struct.pack(">hhh", name, *span) for name, span in sorted(KNOWN.items()))
            return struct.pack(">hi", TOO_NEW if version else 0, len(KNOWN)) + listed
        if key == HANDSHAKE:
            self.mechanisms.append(body.read(struct.unpack(">h", body.read(2))[0]).decode())
            return struct.pack(">hih", 0, 1, len("OAUTHBEARER")) + b"OAUTHBEARER"
        assert key == AUTHENTICATE, key
        self.said.append(body.read(struct.unpack(">i", body.read(4))[0]))
        self.heard.set()
        return struct.pack(">hhi", 0, -1, 0)


def _certificate(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.now(UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(here, critical=False).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    pem, private = folder / "broker.pem", folder / "broker-key.pem"
    pem.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return pem, private


@contextlib.contextmanager
def sasl_broker(folder: Path) -> Iterator[SaslBroker]:
    """Listen on a free loopback port, one connection after the other."""
    pem, private = _certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        broker = SaslBroker(f"127.0.0.1:{listening.getsockname()[1]}", pem)
        thread = threading.Thread(target=_serve, args=(listening, context, broker), daemon=True)
        thread.start()
        yield broker


def _serve(listening: socket.socket, context: ssl.SSLContext, broker: SaslBroker) -> None:
    # until the socket is closed
    with contextlib.suppress(OSError):
        while True:
            plain, _ = listening.accept()
            with contextlib.suppress(OSError, struct.error), context.wrap_socket(plain, server_side=True) as client:
                _talk(client, broker)


def _talk(client: ssl.SSLSocket, broker: SaslBroker) -> None:
    stream = client.makefile("rwb")
    while True:
        body = io.BytesIO(stream.read(struct.unpack(">i", stream.read(4))[0]))
        key, version, number = struct.unpack(">hhi", body.read(8))
        body.read(max(0, struct.unpack(">h", body.read(2))[0]))
        answer = struct.pack(">i", number) + broker.answer(key, version, body)
        stream.write(struct.pack(">i", len(answer)) + answer)
        stream.flush()
