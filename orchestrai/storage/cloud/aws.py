"""Amazon: the one place that makes boto3 clients, and S3 and what speaks its protocol."""

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, cached_property, partial
from typing import Any
from urllib.parse import urlsplit

from orchestrai.errors import ConfigError
from orchestrai.project.connection_spec import Connection
from orchestrai.project.in_force import connection_for, service_connection
from orchestrai.storage.cloud.access.aws_access import Keys, aws_session_of
from orchestrai.storage.cloud.cloud_errors import Fault, aws_errors
from orchestrai.storage.cloud.connection import Backend, StoreOptions
from orchestrai.storage.cloud.control_planes.aws_control import S3ControlPlane

ATTEMPTS = 5
CONNECT_SECONDS = 10.0
# what obstore reads by itself: the token it would send with any key
_TOKENS = ("AWS_SESSION_TOKEN", "AWS_TOKEN")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@cache
def _models(data_path: str | None) -> Any:
    """botocore's models of services; reading them anew for each session took ten times as long as all else of it."""
    from botocore.loaders import create_loader

    return create_loader(data_path)


def aws_session(options: StoreOptions) -> Any:
    """A boto3 session of the options' connection, or with their keys, profile and region; raises ConfigError."""
    if options.connection is not None:
        return aws_session_of(options.connection, options.region)
    keys = (options.access_key_id, options.reveal("secret_access_key") or "", options.reveal("session_token"))
    return plain_session(options.profile, keys if keys[0] else None, options.region)  # type: ignore[arg-type]


def plain_session(profile: str | None, keys: Keys | None, region: str | None) -> Any:
    """A boto3 session with these keys, this profile and region, else those that boto3 finds; raises ConfigError."""
    import boto3
    import botocore.session

    def no_profile(fault: Fault) -> ConfigError | None:
        message = f"expected the AWS profile {profile!r}, found none: correct AWS_PROFILE or the connection"
        return ConfigError(message) if fault.code == "ProfileNotFound" else None

    with aws_errors("a session of AWS", own=no_profile):
        core = botocore.session.Session(profile=profile)
        loader = _models(core.get_config_variable("data_path"))
        core.register_component("data_loader", loader)
        session = boto3.Session(
            botocore_session=core,
            aws_access_key_id=keys[0] if keys else None,
            aws_secret_access_key=keys[1] if keys else None,
            aws_session_token=keys[2] if keys else None,
            region_name=region,
        )
    # each session puts boto3's own folder at the end
    loader.search_paths[:] = dict.fromkeys(loader.search_paths)
    return session


def aws_client(
    service: str, *, region: str | None = None, options: StoreOptions | None = None, url: str | None = None, **settings: Any
) -> Any:
    """A boto3 client that repeats what is transient and says who calls; raises ConfigError without a region or a profile.

    Reached by the connection of `options`, else by that of `url`, else by the one that covers `<service>://<region>`. `settings` are more
    of botocore's Config.
    """
    from botocore.config import Config

    if options is None:
        found = service_connection(service, region) if url is None else connection_for(url, "aws")
        declared = found.declared
        endpoint = declared.endpoint_of(service) if declared else None
        # boto3 reads AWS_DEFAULT_REGION alone; stores and all other SDKs of Amazon read this one first
        where = region or (declared.region if declared else os.environ.get("AWS_REGION") or None)
        options = StoreOptions(endpoint_url=endpoint, region=where, connection=declared)
    declared = options.connection
    if declared is not None:
        # who answers whose account it is cannot be asked that first
        if service != "sts":
            _require_account(declared)
        # a variable that leads to an emulator is not meant for what was declared
        settings["ignore_configured_endpoint_urls"] = True
    if options.anonymous:
        from botocore import UNSIGNED

        settings["signature_version"] = UNSIGNED
    config = Config(
        retries={"mode": "standard", "total_max_attempts": declared.retries.attempts if declared else ATTEMPTS},
        connect_timeout=CONNECT_SECONDS,
        user_agent_extra="orchestrai",
        **settings,
    )
    verify = declared.ca_file if declared else None
    with aws_errors(f"a client of AWS {service}"):
        return aws_session(options).client(service, endpoint_url=options.endpoint_url, config=config, verify=verify)


@dataclass
class S3Backend(Backend):
    """One bucket, or a prefix of it."""

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @cached_property
    def client(self) -> Any:
        """The boto3 client of the control plane."""
        return aws_client("s3", options=self.options, s3={"addressing_style": self.addressing})

    @property
    def addressing(self) -> str:
        """Whether the bucket is named in the path or in the host; an own endpoint rarely has a name per bucket."""
        declared = self.options.connection.addressing if self.options.connection is not None else None
        return declared or ("path" if self.options.endpoint_url else "auto")

    def refuse(self, name: str) -> str | None:
        return None

    def control(self) -> S3ControlPlane:
        return S3ControlPlane(self.client, self.bucket, self.prefix, self.url)

    def opened(self, retries: Any) -> Any:
        from obstore.store import S3Store

        options = self.options
        if options.connection is not None:
            _require_account(options.connection)
        settings: dict[str, Any] = {
            "checksum_algorithm": "SHA256",
            "region": options.region or self._session.region_name or "us-east-1",
        }
        # obstore reads the variables too: the one of S3's endpoint comes before an endpoint, so each is said by that name
        if options.endpoint_url:
            settings["aws_endpoint_url_s3"] = options.endpoint_url
            if self.addressing == "virtual":
                settings["aws_endpoint_url_s3"] = _of_bucket(options.endpoint_url, self.bucket)
                settings["virtual_hosted_style_request"] = True
        elif options.connection is not None and any(os.environ.get(name) for name in _ENDPOINTS):
            settings["aws_endpoint_url_s3"] = f"https://s3.{settings['region']}.amazonaws.com"
        if options.connection is not None:
            settings["skip_signature"] = options.anonymous
        if not options.anonymous:
            settings |= self._signed()
        return S3Store(self.bucket, client_options=options.client_options(), retry_config=retries, **settings)

    def _signed(self) -> dict[str, Any]:
        """What obstore signs with."""
        options = self.options
        if not (options.access_key_id and options.secret_access_key):
            return {"credential_provider": self._provider()}
        if not options.session_token and any(os.environ.get(name) for name in _TOKENS):
            return {"credential_provider": self.given_by(partial(_keys, options))}
        keys = {"access_key_id": options.access_key_id, "secret_access_key": options.reveal("secret_access_key")}
        return {**keys, "session_token": options.reveal("session_token")} if options.session_token else keys

    @cached_property
    def _session(self) -> Any:
        return aws_session(self.options)

    def _provider(self) -> Any:
        from obstore.auth.boto3 import Boto3CredentialProvider

        try:
            provider = Boto3CredentialProvider(self._session, ttl=timedelta(minutes=10))
        except ValueError as exc:
            raise ConfigError(
                f"expected AWS credentials for {self.url}, found none: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "AWS_PROFILE, give the machine a role, or declare an identity of its connection"
            ) from exc

        def give() -> Any:
            with aws_errors(f"credentials for {self.url}"):
                return provider()

        return self.given_by(give)


def _require_account(connection: Connection) -> None:
    from orchestrai.storage.cloud.access.caller import require_declared_account

    require_declared_account(connection)


def _keys(options: StoreOptions) -> dict[str, object]:
    """A key pair alone, as obstore takes it."""
    return {
        "access_key_id": options.access_key_id,
        "secret_access_key": options.reveal("secret_access_key"),
        "token": None,
        "expires_at": None,
    }


def _of_bucket(endpoint: str, bucket: str) -> str:
    parts = urlsplit(endpoint)
    return parts._replace(netloc=f"{bucket}.{parts.netloc}").geturl()
