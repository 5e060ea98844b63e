"""Tokens for OAUTHBEARER by the name of who gives them: Amazon MSK with IAM, Azure Event Hubs with Entra ID.

What signs them is the identity of the connection that covers `kafka://<broker>`, else the machine's own credentials of that cloud.
"""

import base64
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from orchestrai.errors import ConfigError, MissingExtra, OrchestraiError, StorageError
from orchestrai.project.connection_spec import Connection
from orchestrai.project.in_force import connection_for

Token = tuple[str, float]
TokenSource = Callable[[], Token]
MECHANISMS = ("AWS_MSK_IAM", "AZURE_ENTRA_ID")
LIFETIME = 900
_MSK_HOST = re.compile(r"\.kafka(?:-serverless)?\.([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com(?:\.cn)?(?::|$)")
_HUB_HOST = re.compile(r"^([a-z0-9-]+\.servicebus\.(?:windows\.net|chinacloudapi\.cn|usgovcloudapi\.net))(?::\d+)?$")


def token_source(mechanism: str, servers: str) -> TokenSource:
    """What gives the tokens of a mechanism for these brokers; raises ConfigError where they do not tell enough."""
    first = servers.split(",")[0].lower()
    if mechanism == "AWS_MSK_IAM":
        match = _MSK_HOST.search(first)
        connection = connection_for(f"kafka://{first}", "aws")
        region = (
            match[1] if match else connection.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        )
        if not region:
            raise ConfigError(f"expected a broker of Amazon MSK, whose name has its region, found {first!r}: set AWS_REGION")
        return lambda: msk_iam_token(region, connection)
    match = _HUB_HOST.match(first)
    if not match:
        raise ConfigError(
            f"expected namespace.servicebus.windows.net:9093 for AZURE_ENTRA_ID, found {first!r}: correct the URL"
        )
    connection = connection_for(f"kafka://{first}", "azure")
    return lambda: entra_token(match[1], connection)


def msk_iam_token(region: str, connection: Connection | None = None) -> Token:
    """A signed request to connect, as MSK takes it in place of a password; raises ConfigError without credentials."""
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    from orchestrai.storage.cloud.aws import aws_session
    from orchestrai.storage.cloud.connection import StoreOptions

    declared = connection if connection is not None and connection.name else None
    credentials = aws_session(StoreOptions(region=region, connection=declared)).get_credentials()
    if credentials is None:
        raise ConfigError(
            "expected credentials of AWS for AWS_MSK_IAM, found none: give the machine a role, set AWS_PROFILE, or declare a connection"
        )
    request = AWSRequest("GET", f"https://kafka.{region}.amazonaws.com/", params={"Action": "kafka-cluster:Connect"})
    SigV4QueryAuth(credentials.get_frozen_credentials(), "kafka-cluster", region, expires=LIFETIME).add_auth(request)
    signed = f"{request.url}&User-Agent=orchestrai"
    day = parse_qs(urlsplit(signed).query)["X-Amz-Date"][0]
    issued = datetime.strptime(day, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return base64.urlsafe_b64encode(signed.encode()).decode().rstrip("="), issued.timestamp() + LIFETIME


def entra_token(namespace: str, connection: Connection | None = None) -> Token:
    """A token of Entra ID for an Event Hubs namespace, from the process's one cache; raises StorageError, MissingExtra.

    Every client of the namespace is given the same one, and a poll that opens a client anew asks for none while it holds.
    """
    from orchestrai.storage.cloud.rest import token_of

    try:
        token = token_of(connection or Connection(cloud="azure"), f"https://{namespace}/.default").current()
    except MissingExtra:
        raise
    except (StorageError, ConfigError) as exc:
        # its words list every way that was tried, with paths
        code = exc.fields.get("code", type(exc).__name__)
        raise type(exc)(
            f"expected a token of Entra ID for {namespace}, found {code}: give the machine an identity"
        ) from None
    return token.value, token.expires


def token_callback(source: TokenSource, clock: Callable[[], float] = time.time) -> Callable[[object], Token]:
    """What librdkafka calls for a token: the first is got now, so that what is wrong is told as an error of ours.

    A token that cannot be renewed yet is given again as long as it holds: librdkafka asks anew.
    """
    held = [source()]

    def token(_: object) -> Token:
        given, held_until = held[0]
        if not asked:
            asked.append(True)
            return given, held_until
        try:
            held[0] = source()
        except OrchestraiError:
            if held_until <= clock():
                raise
        return held[0]

    asked: list[bool] = []
    return token
