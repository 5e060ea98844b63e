"""S3 in one region: a proxy that refuses what is signed for another region or by another account's key, with S3's own answers."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from orchestrai_tests.servers.proxy import Answer, fault_proxy
from orchestrai_tests.servers.s3 import S3Server

_SCOPE = re.compile(r"Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")


@dataclass
class RegionServer:
    """Where the region answers, and what was asked of it: who, for which region, and whether it was let in."""

    endpoint: str
    region: str
    access_key: str
    upstream: S3Server
    seen: list[tuple[str, str, int]] = field(default_factory=list)

    def bucket(self) -> str:
        """Create a bucket with a fresh name."""
        return self.upstream.bucket()


@contextlib.contextmanager
def region_server(upstream: S3Server, region: str, access_key: str) -> Iterator[RegionServer]:
    """Run the region before a server that knows none."""
    with fault_proxy(upstream.endpoint) as proxy:
        server = RegionServer(proxy.endpoint, region, access_key, upstream)

        def check(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
            answer = _refusal(server, headers.get("authorization", ""))
            match = _SCOPE.search(headers.get("authorization", ""))
            server.seen.append((match[1] if match else "", match[2] if match else "", answer[0] if answer else 200))
            return answer

        proxy.check = check
        yield server


def _refusal(server: RegionServer, authorization: str) -> Answer | None:
    match = _SCOPE.search(authorization)
    where = [("x-amz-bucket-region", server.region), ("Content-Type", "application/xml")]
    if match is None:
        return 403, where, _error("AccessDenied", "Access Denied")
    key, region, service = match.groups()
    if key != server.access_key:
        return 403, where, _error("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    if service == "s3" and region != server.region:
        told = f"The authorization header is malformed; the region '{region}' is wrong; expecting '{server.region}'"
        return 400, where, _error("AuthorizationHeaderMalformed", told, f"<Region>{server.region}</Region>")
    return None


def _error(code: str, message: str, more: str = "") -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>'.encode()
