"""Reading one secret from AWS, Azure, Google, or Vault and OpenBao. No error says what a store answered: it may quote the secret."""

import base64
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orchestrai.errors import (
    AccessRefused,
    ConfigError,
    OrchestraiError,
    StorageError,
    TransientStorageError,
    transient_status,
)
from orchestrai.project.in_force import connection_for
from orchestrai.secrets.reference import RemoteSecret
from orchestrai.storage.cloud.aws import aws_client
from orchestrai.storage.cloud.cloud_errors import Fault, Meaning, aws_errors
from orchestrai.storage.cloud.rest import GOOGLE_SCOPE, token_of

SECONDS = 10.0
# where a vault of Azure lies whose name is told without its domain
AZURE_DOMAIN = "vault.azure.net"
AZURE_VERSION = "7.4"


def fetch(place: RemoteSecret) -> str:
    """The text of a secret; raises ConfigError, TransientStorageError."""
    return _STORES[place.scheme](place)


def _absent(place: RemoteSecret, problem: str) -> ConfigError:
    return ConfigError(
        f"expected a secret at {place.reference}, found {problem}: create it, or allow this identity to read it"
    )


def _silent(place: RemoteSecret, problem: str) -> TransientStorageError:
    return TransientStorageError(f"expected the store of {place.reference} to answer, found {problem}: try again")


# -- AWS ---------------------------------------------------------------------------------------------------------


def _secrets_manager(place: RemoteSecret) -> str:
    asked = {"SecretId": place.path, "VersionStage": place.options.get("stage", "AWSCURRENT")}
    found = _aws(place, "secretsmanager", "get_secret_value", asked)
    text = found.get("SecretString")
    return text if isinstance(text, str) else bytes(found["SecretBinary"]).decode()


def _parameter(place: RemoteSecret) -> str:
    return str(_aws(place, "ssm", "get_parameter", {"Name": place.path, "WithDecryption": True})["Parameter"]["Value"])


def _aws(place: RemoteSecret, service: str, call: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
    with _unsaid(), aws_errors(place.reference, own=_own(place)):
        answer: Mapping[str, Any] = getattr(aws_client(service, url=_url(place), read_timeout=SECONDS), call)(**asked)
    return answer


def _url(place: RemoteSecret) -> str:
    """What the connections in force cover it by."""
    return place.reference.partition("#")[0].partition("?")[0]


def _own(place: RemoteSecret) -> Callable[[Fault], OrchestraiError]:
    """Our error of what an SDK said, by its meaning and code alone."""

    def error(fault: Fault) -> OrchestraiError:
        code = fault.code or str(fault.status)
        return _silent(place, code) if fault.meaning is Meaning.TRANSIENT else _absent(place, code)

    return error


@contextmanager
def _unsaid() -> Iterator[None]:
    """Within it errors have no cause: what the SDK's own error says may quote the secret."""
    try:
        yield
    except OrchestraiError as error:
        raise error from None


# -- Azure, Google, Vault: their published HTTP interfaces ----------------------------------------------------------


def _key_vault(place: RemoteSecret) -> str:
    vault, name, *version = place.parts
    host = vault if "." in vault else f"{vault}.{AZURE_DOMAIN}"
    path = "/".join(quote(part, safe="") for part in (name, *version))
    scope = f"https://{host.partition('.')[2]}/.default"
    headers = {"Authorization": f"Bearer {_azure_token(place, scope)}"}
    return _field(place, _http(place, f"https://{host}/secrets/{path}?api-version={AZURE_VERSION}", headers), "value")


def _azure_token(place: RemoteSecret, scope: str) -> str:
    with _unsaid(), _silenced(place):
        return token_of(connection_for(_url(place), "azure"), scope)()


@contextmanager
def _silenced(place: RemoteSecret) -> Iterator[None]:
    """Within it what an issuer of tokens said is told by its code alone."""
    try:
        yield
    except TransientStorageError as error:
        raise _silent(place, str(error.fields.get("code") or "no token")) from None
    except (AccessRefused, StorageError) as error:
        raise _absent(place, str(error.fields.get("code") or "no token")) from None
    except ConfigError as error:
        raise (_absent(place, str(error.fields["code"])) if "code" in error.fields else error) from None


def _secret_manager(place: RemoteSecret) -> str:
    project, name, *version = (quote(part, safe="") for part in place.parts)
    url = f"https://secretmanager.googleapis.com/v1/projects/{project}/secrets/{name}/versions/{(version or ['latest'])[0]}:access"
    answer = _http(place, url, {"Authorization": f"Bearer {_google_token(place)}"})
    payload = answer.get("payload") or {}
    content = base64.b64decode(_field(place, payload, "data"))
    told = payload.get("dataCrc32c")
    if told is not None:
        import google_crc32c

        if google_crc32c.value(content) != int(told):
            raise _silent(place, "content that was damaged on the way")
    return content.decode()


def _google_token(place: RemoteSecret) -> str:
    with _unsaid(), _silenced(place):
        return token_of(connection_for(_url(place), "gcp"), GOOGLE_SCOPE)()


def _vault(place: RemoteSecret) -> str:
    address = os.environ.get("VAULT_ADDR", "").rstrip("/")
    if not address:
        raise ConfigError(f"expected VAULT_ADDR for {place.reference}, found none: set it to the address of the vault")
    mount, *path = (quote(part, safe="") for part in place.parts)
    headers = {"X-Vault-Token": _vault_token(place), "X-Vault-Request": "true"}
    if namespace := os.environ.get("VAULT_NAMESPACE"):
        headers["X-Vault-Namespace"] = namespace
    answer = _http(place, f"{address}/v1/{mount}/data/{'/'.join(path)}", headers)
    data = (answer.get("data") or {}).get("data")
    if not isinstance(data, dict):
        raise _absent(place, "a deleted version")
    # KV secrets are objects; one with a single field needs no key
    return json.dumps(data) if place.key or len(data) != 1 else str(next(iter(data.values())))


def _vault_token(place: RemoteSecret) -> str:
    """Read at each use: an agent renews the file."""
    if token := os.environ.get("VAULT_TOKEN"):
        return token
    path = Path(os.environ.get("VAULT_TOKEN_FILE") or Path.home() / ".vault-token")
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        raise ConfigError(
            f"expected a token for {place.reference}, found none: set VAULT_TOKEN or VAULT_TOKEN_FILE"
        ) from None


def _http(place: RemoteSecret, url: str, headers: Mapping[str, str]) -> Mapping[str, Any]:
    import httpx

    try:
        # never to another host: the token would go along
        answer = httpx.get(url, headers=dict(headers), timeout=SECONDS, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise _silent(place, type(exc).__name__) from None
    if transient_status(answer.status_code):
        raise _silent(place, f"status {answer.status_code}")
    if answer.status_code != 200:
        raise _absent(place, f"status {answer.status_code}")
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise _silent(place, "an answer that is no JSON object")
    return document


def _field(place: RemoteSecret, document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise _absent(place, f"an answer without {name}")
    return value


_STORES: dict[str, Callable[[RemoteSecret], str]] = {
    "awssm": _secrets_manager,
    "ssm": _parameter,
    "azkv": _key_vault,
    "gcpsm": _secret_manager,
    "vault": _vault,
}
