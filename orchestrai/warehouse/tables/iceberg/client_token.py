"""Tokens for a catalog: an application's id and secret, exchanged as OAuth 2 says and kept until shortly before they end."""

import time
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Any

from pyiceberg.catalog.rest.auth import AuthManager

from orchestrai.errors import StorageError

TIMEOUT, MARGIN = 30, 60


@cache
def client_token(client: str, secret: str, token_url: str, scope: str) -> "ClientToken":
    """The tokens of an application: pyiceberg asks by this name, once a session, and the sessions of a process share them."""
    return ClientToken(client, secret, token_url, scope)


class ClientToken(AuthManager):
    """Tokens for one application; the first is got when it is first needed."""

    def __init__(
        self, client: str, secret: str, token_url: str, scope: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client, self._secret, self._url, self._scope, self._clock = client, secret, token_url, scope, clock
        self._token, self._until, self._lock = "", 0.0, Lock()

    def auth_header(self) -> str:
        """The header of a request; raises requests' errors, and StorageError for an answer without a token."""
        with self._lock:
            if not self._token or self._clock() >= self._until:
                self._renew()
            return f"Bearer {self._token}"

    def _renew(self) -> None:
        import requests

        asked = {"grant_type": "client_credentials", "client_id": self._client, "client_secret": self._secret}
        response = requests.post(
            self._url, data={**asked, **({"scope": self._scope} if self._scope else {})}, timeout=TIMEOUT
        )
        response.raise_for_status()
        told: Any = response.json()
        if not isinstance(told, dict) or not told.get("access_token"):
            raise StorageError(f"expected a token of {self._url}, found none in its answer: check token_url")
        self._token = str(told["access_token"])
        # one that says nothing of its end is asked for anew each hour
        self._until = self._clock() + max(0, int(told.get("expires_in") or 3600) - MARGIN)
