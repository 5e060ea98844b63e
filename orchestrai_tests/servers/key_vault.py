"""Azure Key Vault behind azure-core's transport: what its REST reference says of getting, wrapping and unwrapping a key."""

import base64
import io
import json
from typing import Any

from azure.core.pipeline.transport import HttpTransport
from azure.core.rest._http_response_impl import HttpResponseImpl
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from requests.structures import CaseInsensitiveDict

KID = "https://safe.vault.azure.net/keys/backup/0a1b"
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_CHALLENGE = 'Bearer authorization="https://login.microsoftonline.com/t", resource="https://vault.azure.net"'


class Token:
    """A credential that gives any token."""

    def get_token(self, *scopes: str, **more: Any) -> Any:
        from azure.core.credentials import AccessToken

        return AccessToken("token", 4_000_000_000)


class KeyVaultTransport(HttpTransport[Any, Any]):
    """One RSA key; with `status`, every request after the challenge is answered by that error."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.asked: list[tuple[str, str]] = []
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def __exit__(self, *args: object) -> None:
        """Nothing to close."""

    def send(self, request: Any, **kwargs: Any) -> Any:
        """Answer as the service does."""
        url = request.url.split("?")[0].rstrip("/")
        self.asked.append((request.method, url))
        if "Authorization" not in request.headers:
            return _answer(request, 401, {}, {"WWW-Authenticate": _CHALLENGE})
        if self.status:
            return _answer(request, self.status, {"error": {"code": "Told", "message": "no"}})
        if request.method == "GET":
            assert url in (KID, KID.rpartition("/")[0]), url
            return _answer(request, 200, {"key": self._public(), "attributes": {"enabled": True}})
        body = json.loads(request.content)
        assert body["alg"] == "RSA-OAEP-256"
        assert url in (f"{KID}/wrapkey", f"{KID}/unwrapkey"), url
        try:
            value = self._wrapped(_plain(body["value"])) if url.endswith("/wrapkey") else self._opened(_plain(body["value"]))
        except ValueError:
            return _answer(request, 400, {"error": {"code": "BadParameter", "message": "no"}})
        return _answer(request, 200, {"kid": KID, "value": _text(value)})

    def _wrapped(self, data: bytes) -> bytes:
        return self._private.public_key().encrypt(data, _OAEP)

    def _opened(self, data: bytes) -> bytes:
        return self._private.decrypt(data, _OAEP)

    def _public(self) -> dict[str, Any]:
        numbers = self._private.public_key().public_numbers()
        key = {"kid": KID, "kty": "RSA", "key_ops": ["wrapKey", "unwrapKey"]}
        return key | {"n": _text(numbers.n.to_bytes(256, "big")), "e": _text(numbers.e.to_bytes(3, "big"))}


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _plain(data: str) -> bytes:
    return base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))


def _answer(request: Any, code: int, body: Any, headers: dict[str, str] | None = None) -> Any:
    data = json.dumps(body).encode()
    return HttpResponseImpl(
        request=request,
        internal_response=io.BytesIO(data),
        block_size=4096,
        status_code=code,
        reason="told",
        headers=CaseInsensitiveDict({"Content-Type": "application/json", **(headers or {})}),
        content_type="application/json",
        stream_download_generator=lambda *args, **kwargs: iter([data]),
    )
