"""A time-stamp authority of one's own: `openssl ts` behind an HTTP server on loopback."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from orchestrai_tests.scratch import fast_folder
from orchestrai_tests.servers.process import ServerAbsent

CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = {name}
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[stamps]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[tsa]
default_tsa = tsa_config
[tsa_config]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


@dataclass
class StampServer:
    """Where it answers, and the certificate that its stamps are judged by; `answers` may be replaced by others."""

    url: str
    root: Path
    folder: Path
    asked: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)

    def answer(self, query: bytes) -> bytes:
        """An answer to a query, or the next of those that a test put there."""
        self.asked.append(query)
        if self.answers:
            return self.answers.pop(0)
        (self.folder / "query").write_bytes(query)
        _openssl("ts", "-reply", "-config", "config", "-queryfile", "query", "-out", "answer", folder=self.folder)
        return (self.folder / "answer").read_bytes()


def _openssl(*words: str, folder: Path) -> None:
    done = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def stamp_server(name: str = "stamps") -> Iterator[StampServer]:
    """A running authority; raises ServerAbsent where there is no openssl."""
    if shutil.which("openssl") is None:
        raise ServerAbsent("no openssl is installed: apt-get install openssl")
    with tempfile.TemporaryDirectory(dir=fast_folder(), prefix="tsa-") as place:
        folder = Path(place)
        (folder / "config").write_text(CONFIG.format(name=name, folder=folder))
        (folder / "serial").write_text("01\n")
        new = ("req", "-config", "config", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        _openssl(*new, "-x509", "-extensions", "ca", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", folder=folder)
        _openssl(*new, "-subj", f"/CN={name}-1", "-keyout", "tsa.key", "-out", "tsa.csr", folder=folder)
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "config", "-extensions", "stamps")
        _openssl("x509", "-req", "-in", "tsa.csr", *signed, "-days", "30", "-out", "tsa.pem", folder=folder)
        server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
        running = StampServer(f"http://127.0.0.1:{server.server_port}/", folder / "ca.pem", folder)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = running.answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server.RequestHandlerClass = Handler
        thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
