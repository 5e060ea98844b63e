"""Every error orchestrai raises on purpose.

    OrchestraiError
      ConfigError                  input or usage is wrong (exit code 2)
        DeclarationError           a YAML declaration or contract, with file, line and field
        MissingExtra               an optional package is not installed
        KeyRefused                 this home's own key may not sign what it is asked to
          ApprovalNeeded           others must sign too
      WouldPublish                 a trial came to where something would be made; told to nobody
      StorageError                 an outside store failed (exit code 3)
        ObjectNotFound
        ObjectExists               put-if-absent lost
        PreconditionFailed         the object changed since it was listed or read
        InvalidKey                 the key cannot be held or would leave its root
        RetentionLocked            the store refuses because of a lock or hold
        AccessRefused              the credentials may not do it, or are no longer good
        TransientStorageError      worth a retry
      GateClosed                   a blocking check failed; nothing was published (exit code 1)
      IntegrityError               bytes, signatures or records are not what was promised (exit code 1)
        DigestMismatch
        MissingObject              a committed record names an object that is not there
        SignatureInvalid
          NotCounted             rightly signed, by a key that may not (any longer) sign it
        NotReceipted               no valid receipt with passing verdicts covers this version
        UnknownFormatVersion
      UnreadableObject             landed bytes are not what their format or contract says (exit code 1)
      ConcurrentCommit             another writer published the same partitions first
      SessionExpired               a vault write took longer than a session may
      RestoreError
      FeatureViewError             a view is outside the portable subset or its data breaks a rule
      ModelError                   training, loading or scoring refused

Each message names what was expected, what was found and the remedy.
"""

from collections.abc import Mapping
from typing import ClassVar


class OrchestraiError(Exception):
    """Base of all errors raised on purpose.

    `retryable` says whether the same call may succeed later; `exit_code` is what the command line returns.
    """

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, **fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.fields: Mapping[str, object] = fields


class ConfigError(OrchestraiError):
    """Input or usage is wrong."""

    exit_code = 2


class DeclarationError(ConfigError):
    """A declaration is wrong; the message is one line: file, line, field, what was expected."""


class MissingExtra(ConfigError):
    """An optional package is not installed; the message names the extra."""


class KeyRefused(ConfigError):
    """This home's own key may not sign what it is asked to: it was ended, has not the role, or others must sign too."""


class ApprovalNeeded(KeyRefused):
    """Keys of other people must sign too; this home's signature is kept as a proposal."""

    exit_code = 1


class WouldPublish(OrchestraiError):
    """A trial of a stage came to where it would begin to make or to write something."""


class StorageError(OrchestraiError):
    """A store refused or failed."""

    exit_code = 3

    @property
    def store(self) -> str:
        """URL of the store that does not answer at all, or lets nobody in; empty where one object is the matter."""
        return str(self.fields.get("store", ""))


class ObjectNotFound(StorageError):
    """No object has this key (or this version of it)."""


class ObjectExists(StorageError):
    """Put-if-absent found an object under this key."""


class PreconditionFailed(StorageError):
    """The object is no longer the one that was listed or read."""


class InvalidKey(StorageError):
    """The key is unusable in this store or would leave the store's root."""

    exit_code = 2


class RetentionLocked(StorageError):
    """A retention lock or legal hold forbids the change."""


class AccessRefused(StorageError):
    """The credentials do not allow the call, or are no longer good."""


class TransientStorageError(StorageError):
    """The store failed in a way that a later try may not."""

    retryable = True


class GateClosed(OrchestraiError):
    """A blocking check failed, so nothing was published and the last good version stays current."""


class IntegrityError(OrchestraiError):
    """Bytes or records are not what a signed statement says they are."""


class DigestMismatch(IntegrityError):
    """Bytes hash to something else than recorded."""


class MissingObject(IntegrityError):
    """A committed record names an object that the store no longer has."""


class SignatureInvalid(IntegrityError):
    """A signature does not verify under any trusted key."""


class NotCounted(SignatureInvalid):
    """A signature is right, and the key log says that its key may not sign this record: it counts for nothing."""


class NotReceipted(IntegrityError):
    """No valid receipt with passing verdicts covers the version that was asked for."""


class UnknownFormatVersion(IntegrityError):
    """A record was written in a format this release does not know."""


class UnreadableObject(OrchestraiError):
    """An object's bytes are not what its format or contract says; the object is set aside and nothing is lost."""


class ConcurrentCommit(OrchestraiError):
    """Another writer published the same partitions after this writer began; read again and redo."""

    retryable = True


class SessionExpired(OrchestraiError):
    """A vault write outlived the longest session by the store's clock; its snapshot counts for nobody, write it again."""

    retryable = True


class RestoreError(OrchestraiError):
    """A restore could not be planned or finished; nothing was published."""


class FeatureViewError(ConfigError):
    """A feature view is outside the portable subset, or its data breaks one of its rules."""


class ModelError(OrchestraiError):
    """A model cannot be trained, loaded or scored."""


def transient_status(status: int) -> bool:
    """Whether an HTTP status says that the same request may succeed later; 501 and 505 say that it never will."""
    return status in (408, 425, 429) or (status >= 500 and status not in (501, 505))
