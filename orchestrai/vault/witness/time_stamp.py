"""Time-stamps of somebody else (RFC 3161): asked for the hash of a record, and verified with the roots that a reader trusts."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import ConfigError, IntegrityError, MissingExtra, TransientStorageError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

ANSWER_BYTES = 64 * 1024
SECONDS = 15.0
# sends a request to an authority, and gives its answer
Post = Callable[[str, bytes], bytes]


@dataclass(frozen=True)
class StampAuthority:
    """Whom to ask, and whose certificates count; without `url` nobody is asked, without `roots` answers are kept and not verified."""

    url: str = ""
    roots: Path | None = None
    post: Post | None = None

    def stamp(self, record: bytes) -> bytes:
        """The authority's answer about a record, of which it sees the SHA-256 alone.

        Raises TransientStorageError where it does not answer, IntegrityError where it answers something else.
        """
        client = _client()
        request = client.TimestampRequestBuilder().data(record).hash_algorithm(client.HashAlgorithm.SHA256)
        asked = request.nonce(nonce=True).cert_request(cert_request=True).build()
        answer = (self.post or _post)(self.url, asked.as_bytes())
        response = _response(client, answer, self.url)
        if response.tst_info.nonce != asked.nonce or response.tst_info.message_imprint.message.hex() != sha256_hex(record):
            raise IntegrityError(f"expected a time-stamp of what was asked from {self.url}, found another's")
        if self.roots is not None:
            self.time_of(record, answer)
        return answer

    def time_of(self, record: bytes, answer: bytes) -> datetime | None:
        """When a record was there by the word of an authority that counts; None where no roots are named to judge it by.

        Raises IntegrityError where the answer is of another record, altered, or signed by nobody that the roots know.
        """
        if self.roots is None:
            return None
        client = _client()
        response = _response(client, answer, "the witness")
        builder = client.VerifierBuilder()
        for root in _certificates(self.roots):
            builder = builder.add_root_certificate(root)
        try:
            builder.build().verify_message(response, record)
        except (client.VerificationError, ValueError) as exc:
            raise IntegrityError(
                f"expected a time-stamp of this record by an authority under {self.roots.name}, found none that holds ({exc}): ask anew"
            ) from exc
        time: datetime = response.tst_info.gen_time
        return time.astimezone(UTC)


def _client() -> Any:
    try:
        import rfc3161_client
    except ImportError as exc:
        raise MissingExtra(
            "expected rfc3161-client for time-stamps, found it absent: install orchestrai[timestamps]"
        ) from exc
    return rfc3161_client


def _response(client: Any, answer: bytes, origin: str) -> Any:
    try:
        response = client.decode_timestamp_response(answer)
        granted = response.status == int(client.PKIStatus.GRANTED)
    except ValueError as exc:
        raise IntegrityError(f"expected a time-stamp from {origin}, found something else: ask anew") from exc
    if not granted:
        raise IntegrityError(f"expected a time-stamp from {origin}, found that it was refused: {response.status_string}")
    return response


def _certificates(roots: Path) -> "list[Certificate]":
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(roots.expanduser().read_bytes())
    except (OSError, ValueError) as exc:
        raise ConfigError(f"expected certificates (PEM) in {roots}, found none that can be read ({exc})") from exc


def _post(url: str, request: bytes) -> bytes:
    from urllib.request import Request, urlopen

    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"expected an http(s) URL of a time-stamp authority, found {url!r}")
    asked = Request(url, data=request, headers={"Content-Type": "application/timestamp-query"})
    try:
        with urlopen(asked, timeout=SECONDS) as answer:
            body: bytes = answer.read(ANSWER_BYTES + 1)
    except OSError as exc:
        raise TransientStorageError(f"expected a time-stamp from {url}, found: {exc}: a later one covers this too") from exc
    if len(body) > ANSWER_BYTES:
        raise IntegrityError(f"expected a time-stamp of at most {ANSWER_BYTES} bytes from {url}, found more")
    return body
