"""What a stranger may write: checks a DSSE envelope with a public key, by the specification alone. Imports nothing of orchestrai.

python stranger.py KEY.pem ENVELOPES [FILE]    one envelope a line; FILE must then be a subject of the last one
"""

import base64
import hashlib
import json
import pathlib
import sys

from cryptography.hazmat.primitives.serialization import load_pem_public_key


def main(key_file: str, envelopes: str, *model: str) -> int:
    """Verify every line, print how many; raises where one does not verify."""
    key = load_pem_public_key(pathlib.Path(key_file).read_bytes())
    statement, count = {}, 0
    for line in pathlib.Path(envelopes).read_text().splitlines():
        envelope = json.loads(line)
        payload = base64.b64decode(envelope["payload"])
        kind = envelope["payloadType"].encode()
        signed = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
        for signature in envelope["signatures"]:
            key.verify(base64.b64decode(signature["sig"]), signed)  # type: ignore[union-attr, call-arg, arg-type]
        statement, count = json.loads(payload), count + 1
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
    for file in model:
        digest = hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()
        assert digest in [subject["digest"]["sha256"] for subject in statement["subject"]], "no subject of the statement"
    assert not [name for name in sys.modules if name.startswith("orchestrai")]
    sys.stdout.write(f"{count}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
