"""A log in a sealed vault, and a server that lets nobody in without TLS: followed and restored as any other."""

import ipaddress
import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orchestrai.backup.wal.recovery.recovery_plan import Target
from orchestrai.errors import StorageError
from orchestrai_tests.backup.wal.conftest import Followed
from orchestrai_tests.backup.wal.recovery.test_moments import TABLE, Looked, at, state_of, work
from orchestrai_tests.servers.cluster import Cluster

pytestmark = pytest.mark.emulator
CANARY = "hummingbird hears nobody"


def test_a_log_in_a_sealed_vault_gives_the_server_back_and_shows_nothing_of_it(crm: Followed) -> None:
    declared = crm.home.parent / "pipelines" / "shop" / "pipeline.yaml"
    declared.write_text(declared.read_text().replace("method: wal", "method: wal, encrypt: true"))
    crm.cluster.ask(TABLE)
    crm.cluster.ask("INSERT INTO orders (note) SELECT %s FROM generate_series(1, 50)", CANARY)
    crm.run("base")
    crm.cluster.ask("INSERT INTO orders (note) SELECT %s FROM generate_series(1, 50)", CANARY)
    moment, state = work(crm.cluster, random.Random(40))
    work(crm.cluster, random.Random(41))
    crm.receive()
    vault, log, bases = crm.log()
    assert vault.encrypted and log.files and len(bases) == 1
    stored = [vault.store.read(info.key) for info in vault.store.list("vault/")]
    assert len(stored) > 10 and not [data for data in stored if CANARY.encode() in data]
    looked = Looked()
    crm.restore("sealed", at(moment), looked)
    assert looked.state == state
    (proof, *_) = [v for outcome in crm.run("drill").outcomes for v in outcome.verdicts if v.check == "proof"]
    assert proof.passed and "0 of 2" not in proof.message


@dataclass
class Tls:
    """A server that answers at an address of the loopback network to TLS alone."""

    cluster: Cluster
    host: str
    root: Path

    def url(self, root: Path) -> str:
        where = f"host={self.host}&port=5432&user=postgres"
        return f"postgresql:///postgres?{where}&sslmode=verify-full&sslrootcert={root}"


def certificate(folder: Path, name: str, host: str) -> tuple[Path, Path]:
    """A certificate that vouches for itself and for a host, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    secret.chmod(0o600)
    return pem, secret


@pytest.fixture
def tls(crm: Followed) -> Tls:
    cluster = crm.cluster
    number = os.getpid()
    host = f"127.{100 + number // 65536 % 100}.{number // 256 % 256}.{number % 250 + 2}"
    pem, key = certificate(cluster.folder, "server", host)
    cluster.who.own(cluster.folder)
    # in the server's own settings, so that its bases have them too
    for name, value in (("ssl", "on"), ("ssl_cert_file", str(pem)), ("ssl_key_file", str(key))):
        cluster.ask(f"ALTER SYSTEM SET {name} = '{value}'")
    lines = [f"hostssl {kind} all 127.0.0.0/8 trust" for kind in ("all", "replication")]
    # the tests' own way in, and no other
    (cluster.data / "pg_hba.conf").write_text("\n".join(["local all all trust", "local replication all reject", *lines, ""]))
    cluster.stop()
    cluster.start(listen_addresses=host)
    return Tls(cluster, host, pem)


def test_a_server_behind_tls_is_followed_and_restored_and_a_stranger_in_its_place_is_not(
    crm: Followed, tls: Tls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"postgresql:///postgres?host={tls.host}&port=5432&user=postgres&sslmode=disable")
    monkeypatch.setenv("CRM_URL", tls.url(tls.root))
    crm.cluster.ask(TABLE)
    crm.run("base")
    work(crm.cluster, random.Random(42))
    crm.receive()
    state = state_of(crm.cluster)
    looked = Looked()
    # the restored server neither asks for TLS nor misses its certificate
    for path in tls.cluster.folder.glob("server.*"):
        path.unlink()
    crm.restore("tls", Target(), looked)
    assert looked.state == state
    another, _ = certificate(tmp_path, "another", tls.host)
    monkeypatch.setenv("CRM_URL", tls.url(another))
    with pytest.raises(StorageError, match=r"certificate verify failed|SSL"):
        crm.receive()
