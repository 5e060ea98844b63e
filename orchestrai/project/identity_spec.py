"""Who calls a cloud, as declared: by the cloud's own chain, by a role or an identity of the machine, or where a secret lies."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_serializer, model_validator

from orchestrai.core.yaml.declaration import Declaration, field_reader
from orchestrai.secrets.reference import check_reference

Cloud = Literal["aws", "azure", "gcp"]
Secret = Annotated[str, AfterValidator(field_reader(check_reference)), Field(description="where a secret lies")]
Word = Annotated[str, Field(pattern=r"^[!-~]+$", max_length=256)]


class AccessKey(Declaration):
    """A static key pair of AWS, or of what speaks S3's protocol."""

    id: Secret
    secret: Secret
    token: Secret | None = None


class ServicePrincipal(Declaration):
    """An application of Entra ID that signs in with a secret."""

    tenant: Word
    client: Word
    secret: Secret


class FederatedToken(Declaration):
    """An application of Entra ID that signs in with the token that the cluster puts into a file; what is left out the machine's
    variables say.
    """

    tenant: Word | None = None
    client: Word | None = None
    token_file: Word | None = None


# which kinds a cloud has
KINDS: dict[Cloud, tuple[str, ...]] = {
    "aws": ("profile", "role", "access_key", "anonymous"),
    "azure": ("managed_identity", "workload_identity", "service_principal", "account_key", "sas", "anonymous"),
    "gcp": ("service_account", "external_account", "impersonate", "anonymous"),
}


# an identity that is taken on from another one
TAKEN_ON = frozenset(
    frozenset(pair)
    for pair in (
        ("role", "profile"),
        ("role", "access_key"),
        ("impersonate", "service_account"),
        ("impersonate", "external_account"),
    )
)


class Identity(Declaration):
    """Who calls: one kind, or none for the cloud's own chain. A role may be assumed from a profile or a key pair.

    `external_account` is the file that Google's workload identity federation is configured by. No field holds a secret: each says where
    one lies.
    """

    profile: Word | None = None
    role: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[A-Za-z0-9_+=,.@/-]+$", max_length=600)] | None = (
        None
    )
    external_id: Word | None = None
    session_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+=,.@-]{2,64}$")] = "orchestrai"
    access_key: AccessKey | None = None
    managed_identity: Annotated[Word, Field(description="system, or the client id of one that is assigned")] | None = None
    workload_identity: FederatedToken | None = None
    service_principal: ServicePrincipal | None = None
    account_key: Secret | None = None
    sas: Secret | None = None
    service_account: Secret | None = None
    external_account: Word | None = None
    impersonate: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.gserviceaccount\.com$")] | None = None
    anonymous: bool = False

    @model_validator(mode="before")
    @classmethod
    def _default_chain(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "default":
            raise ValueError(f"expected default or a mapping such as {{profile: name}}, found {value!r}")
        return {} if value == "default" else value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = self.kinds
        if len(kinds) > 1 and frozenset(kinds) not in TAKEN_ON:
            raise ValueError(f"expected one kind of identity, found {' and '.join(kinds)}")
        if self.external_id is not None and self.role is None:
            raise ValueError("external_id: expected a role to assume with it, found none")
        return self

    @model_serializer
    def _short(self) -> dict[str, Any]:
        """What is declared, without what is left at its default."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return {name: value for name, value in given.items() if value != type(self).model_fields[name].default}

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which kinds are declared; none for the cloud's own chain."""
        names = dict.fromkeys(kind for kinds in KINDS.values() for kind in kinds)
        return tuple(name for name in names if getattr(self, name))

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that its secrets lie in: what a container of a run must be given too."""
        keys, principal = self.access_key, self.service_principal
        secrets = (keys.id, keys.secret, keys.token) if keys else (principal.secret,) if principal else ()
        references = (*secrets, self.account_key, self.sas, self.service_account)
        return tuple(one.removeprefix("env://") for one in references if one and one.startswith("env://"))

    @property
    def shown(self) -> str:
        """Who that is, in words that hold no secret."""
        if not self.kinds:
            return "the default chain"
        named = {"profile", "role", "managed_identity", "impersonate"}
        return ", ".join(f"{kind} {getattr(self, kind)}" if kind in named else kind.replace("_", " ") for kind in self.kinds)
