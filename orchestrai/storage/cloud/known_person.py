"""Whom this machine knows to be at work, by setting: the user of the process, or whom a cloud's credentials belong to."""

from orchestrai.core.actor import KnownBy, os_user
from orchestrai.settings import Settings


def known_person(settings: Settings) -> tuple[str, KnownBy]:
    """The name, and how it is known; an empty one where nobody is. Raises what the cloud answers where one is to say it."""
    if settings.identity == "os":
        user = os_user()
        return user, "os user" if user else "nobody"
    from orchestrai.storage.cloud.caller_identity import caller_identity

    return caller_identity(settings.identity), "cloud identity"
