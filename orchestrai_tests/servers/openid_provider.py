"""An OpenID Connect provider for tests: discovery, login without questions, code with PKCE, signed ID tokens."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from orchestrai_tests.clouds.loopback import Reply, serving

CLIENT, SECRET = "orchestrai", "s3cret-of-the-client"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class OpenIdProvider:
    """Whoever comes is logged in with the claims of `person`."""

    issuer: str
    person: dict[str, Any] = field(default_factory=dict)
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    logins: int = 0

    def token(self, nonce: str) -> str:
        now = int(time.time())
        header = {"alg": "RS256", "kid": "k1", "typ": "JWT"}
        body = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "sub": "s-1", "nonce": nonce, **self.person}
        signed = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(body).encode())}"
        return f"{signed}.{_b64(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def documents(self, path: str) -> dict[str, Any] | None:
        numbers = self.key.public_key().public_numbers()
        return {
            "/.well-known/openid-configuration": {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            },
            "/jwks": {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1", "e": "AQAB",
                                "n": _b64(numbers.n.to_bytes(256, "big"))}]},
        }.get(path)  # fmt: skip

    def authorize(self, asked: dict[str, list[str]]) -> str:
        """Where the browser goes on, with a code."""
        self.logins += 1
        code = secrets.token_hex(8)
        self.codes[code] = {name: values[0] for name, values in asked.items()}
        return f"{asked['redirect_uri'][0]}?{urlencode({'code': code, 'state': asked['state'][0]})}"

    def exchange(self, form: dict[str, list[str]], basic: str) -> dict[str, Any] | None:
        """Tokens for a code that is asked for once, by the client that began, with its verifier; None for others."""
        begun = self.codes.pop(form.get("code", [""])[0], None)
        verifier = _b64(hashlib.sha256(form.get("code_verifier", [""])[0].encode()).digest())
        known = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if begun is None or basic != f"Basic {known}" or verifier != begun.get("code_challenge"):
            return None
        return {
            "access_token": "a",
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": self.token(begun.get("nonce", "")),
        }


@contextmanager
def openid_provider() -> Iterator[OpenIdProvider]:
    """A provider on loopback, for the length of a `with` block."""

    provider = OpenIdProvider("")

    def ask(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        parts = urlsplit(url)
        if method == "POST":
            told = provider.exchange(parse_qs(body.decode()), headers.get("Authorization", ""))
        elif parts.path == "/authorize":
            return 302, {"Location": provider.authorize(parse_qs(parts.query))}, None
        else:
            told = provider.documents(parts.path)
        return (400, {}, {"error": "invalid_grant"}) if told is None else (200, {}, told)

    with serving(ask) as provider.issuer:
        yield provider
