"""Key services that wrap a vault's data keys: AWS KMS, Azure Key Vault, Google Cloud KMS, or the key file.

file                                                        vault.key in the key folder
awskms://alias/NAME, awskms://KEY-ID, awskms://arn:aws:...  symmetric key
azurekv://VAULT/KEY                                         RSA key of 2,048 bits or more
gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K     symmetric key

It is reached by the connection that covers it. None is named in its URL, which is recorded, and read where connections have other names.
"""

from pathlib import Path

from orchestrai.errors import ConfigError
from orchestrai.vault.keys.aws_kms import AwsKey
from orchestrai.vault.keys.azure_key_vault import AzureKey
from orchestrai.vault.keys.google_kms import GoogleKey
from orchestrai.vault.keys.key_file import KEY_FILE, FileKey
from orchestrai.vault.keys.key_port import KeyPort

FILE = "file"


def key_port(url: str, key_folder: Path) -> KeyPort:
    """The port of a URL, or of a port's recorded name; raises ConfigError. Calls no service yet."""
    scheme, _, rest = url.partition("://")
    if url == FILE or url.startswith(f"{FILE}:"):
        return FileKey(key_folder / KEY_FILE)
    if scheme == "awskms" and rest:
        return AwsKey(rest)
    if scheme == "azurekv" and rest.count("/") == 1 and all(rest.split("/")):
        return AzureKey(*rest.split("/"))
    if (
        scheme == "gcpkms"
        and rest.startswith("projects/")
        and rest.split("/")[2:7:2] == ["locations", "keyRings", "cryptoKeys"]
    ):
        return GoogleKey(rest)
    raise ConfigError(
        "expected file, awskms://alias/NAME, azurekv://VAULT/KEY or gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K, found "
        f"{url!r}: correct the encryption of the backup"
    )
