"""Steps that every cloud has: a store, a key, a queue and a secret, each by its URL."""

import secrets
from pathlib import Path

from orchestrai.errors import ConfigError, IntegrityError, ObjectExists, OrchestraiError, StorageError
from orchestrai.pipeline.accounts.account_proof import Given, Step

CONTEXT = b"orchestrai doctor --prove"


def common_steps(store: str, key: str, queue: str, secret: str) -> tuple[Step, ...]:
    """The four, told with an example of each URL."""
    return (
        Step("store", f"write once, read, list and delete below {store}", ("store",), _store, "one object of 64 bytes"),
        Step("key", f"wrap and unwrap 32 bytes by {key}; refuse them for another vault", ("key",), _key),
        Step("queue", f"ask {queue} whether a message waits, and leave it", ("queue",), _queue),
        Step("secret", f"read {secret} and show its length alone", ("secret",), _secret),
    )


def _store(given: Given) -> str:
    from orchestrai.storage.url import open_store

    store, name, data = open_store(given["store"]), f"prove/{secrets.token_hex(8)}", secrets.token_bytes(64)
    store.write(name, data, create=True)
    try:
        try:
            store.write(name, b"other", create=True)
        except ObjectExists:
            pass
        else:
            raise StorageError(
                "expected the store to refuse a second write of a key, found it written: a vault is not safe there"
            )
        if store.read(name) != data:
            raise IntegrityError("expected to read what was written, found other bytes")
        if [info.key for info in store.list(name)] != [name]:
            raise StorageError(f"expected {name} in the listing, found it absent: the listing is not consistent")
    finally:
        store.delete(name)
    return "written once, a second write refused, read, listed, deleted"


def _key(given: Given) -> str:
    from orchestrai.vault.keys.key_services import key_port

    port, plain = key_port(given["key"], Path()), secrets.token_bytes(32)
    wrapped = port.wrap(plain, CONTEXT)
    if port.unwrap(wrapped, CONTEXT) != plain:
        raise IntegrityError(f"expected {port.name} to give back what it wrapped, found other bytes")
    try:
        port.unwrap(wrapped, CONTEXT + b" of another vault")
    except OrchestraiError as exc:
        if exc.retryable:
            raise
        return f"{port.name} wraps and unwraps, and not for another vault"
    raise IntegrityError(f"expected {port.name} to refuse a key that was wrapped for another vault, found it opened")


def _queue(given: Given) -> str:
    from orchestrai.ingest.discovery.queues.queue_services import open_queue

    found = open_queue(given["queue"]).receive(1, wait=0.0)
    return "a message waits; it comes again when its time is over" if found else "it answers, and nothing waits"


def _secret(given: Given) -> str:
    from orchestrai.secrets.reference import resolve_secret

    text = resolve_secret(given["secret"])
    if not text:
        raise ConfigError("expected a secret, found an empty one: store it")
    return f"{len(text)} characters"
