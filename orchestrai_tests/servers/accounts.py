"""Google's accounts: a proxy that gives tokens for signed assertions and lets each account into its own bucket alone."""

import base64
import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import parse_qs, urlsplit

from orchestrai_tests.servers.gcs import GcsServer
from orchestrai_tests.servers.proxy import Answer, fault_proxy

JSON = [("Content-Type", "application/json")]


@cache
def _key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@dataclass
class AccountServer:
    """Buckets by the account that may enter them; `issued` are the accounts that tokens were given to, in order."""

    upstream: GcsServer
    endpoint: str = ""
    owners: dict[str, str] = field(default_factory=dict)
    issued: list[str] = field(default_factory=list)
    refused: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def bucket(self, account: str) -> str:
        """Create a bucket with a fresh name that only this account may enter."""
        name = self.upstream.bucket()
        self.owners[name] = account
        return name

    def service_account(self, name: str) -> str:
        """The key of a service account, as Google writes it."""
        return json.dumps(
            {
                "type": "service_account",
                "project_id": "acme-items",
                "client_email": name,
                "private_key_id": "1",
                "private_key": _key(),
                "token_uri": f"{self.endpoint}/token",
            }
        )

    def external_account(self, token_file: str) -> str:
        """The configuration of workload identity federation, whose subject token lies in a file."""
        return json.dumps(
            {
                "type": "external_account",
                "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_url": f"{self.endpoint}/sts",
                "credential_source": {"file": token_file},
            }
        )

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """Give a token, refuse a stranger, or let the request pass."""
        place = urlsplit(path).path
        if place in ("/token", "/sts"):
            asked = parse_qs(body.decode())
            who = _issuer(asked["assertion"][0]) if place == "/token" else asked["subject_token"][0]
            with self.lock:
                self.issued.append(who)
                number = len(self.issued)
            token = {"access_token": f"{number}.{who}", "expires_in": 3600, "token_type": "Bearer"}
            return (
                200,
                JSON,
                json.dumps({**token, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}).encode(),
            )
        bucket = place.split("/")[4 if place.startswith("/storage/v1/b/") else 1]
        who = headers.get("authorization", "").removeprefix("Bearer ").partition(".")[2]
        if who != self.owners.get(bucket):
            self.refused += 1
            return 403, JSON, json.dumps({"error": {"code": 403, "message": f"{who} may not enter {bucket}"}}).encode()
        return None


def _issuer(assertion: str) -> str:
    claims = assertion.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["iss"])


@contextlib.contextmanager
def account_server(upstream: GcsServer) -> Iterator[AccountServer]:
    """Run the accounts before a server that knows none."""
    server = AccountServer(upstream)
    with fault_proxy(upstream.endpoint) as proxy:
        server.endpoint, proxy.check = proxy.endpoint, server.answer
        yield server
