"""What a test needs to know of an S3 server."""

import uuid
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class S3Server:
    """An S3 endpoint on loopback with one account."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    def client(self, service: str = "s3") -> Any:
        """A boto3 client of this server."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )

    def bucket(self, *, versioned: bool = False, locked: bool = False) -> str:
        """Create a bucket with a fresh name."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        client = self.client()
        client.create_bucket(Bucket=name, **({"ObjectLockEnabledForBucket": True} if locked else {}))
        if versioned and not locked:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def environment(self) -> dict[str, str]:
        """The standard variables that lead a process to this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
        }
