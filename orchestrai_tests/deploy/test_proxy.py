"""The proxy that ships, run by its own binary: nobody passes without a login, and only the proxy says who somebody is."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.cookiejar import CookieJar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, OpenerDirector, ProxyHandler, Request, build_opener

import pytest

from orchestrai_tests.servers.openid_provider import CLIENT, SECRET, OpenIdProvider, openid_provider
from orchestrai_tests.servers.process import ServerAbsent, free_port, running

CONF = Path(__file__).resolve().parents[2] / "deploy" / "proxy" / "proxy.conf"
# the files of Debian's packages, unpacked anywhere
ROOT = Path(os.environ.get("ORCHESTRAI_TEST_APACHE_ROOT", "/"))
APACHE = ROOT / "usr" / "sbin" / "apache2"
MODULES = ROOT / "usr" / "lib" / "apache2" / "modules"
CANARY = "ann@example.org"

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(
        not (APACHE.is_file() and (MODULES / "mod_auth_openidc.so").is_file()),
        reason="Apache with mod_auth_openidc is not installed: install the packages apache2-bin and libapache2-mod-auth-openidc",
    ),
]


class Echo(BaseHTTPRequestHandler):
    """A webserver that says who it was told had come, by which cookies and headers."""

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        seen = [f"{name}: {value}" for name, value in self.headers.items()]
        data = "\n".join([str(self.server.server_port), self.path, *seen]).encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Site:
    """The proxy between a browser and two webservers."""

    def __init__(self, folder: Path, provider: OpenIdProvider, upstreams: list[int]) -> None:
        self.provider, self.upstreams = provider, upstreams
        self.ports = [free_port(), free_port()]
        secrets, run = folder / "secrets", folder / "run"
        secrets.mkdir()
        run.mkdir()
        (secrets / "oidc.conf").write_text(f"OIDCClientSecret {SECRET}\nOIDCCryptoPassphrase {'p' * 32}\n")
        self.environment = {
            "MODULES": str(MODULES), "RUN_DIR": str(run), "FILES": str(secrets), "OIDC_ISSUER": provider.issuer,
            "OIDC_CLIENT_ID": CLIENT, "OIDC_USER_CLAIM": "email", "OIDC_OPERATORS": "operators", "PATH": "/usr/bin:/bin",
            "LD_LIBRARY_PATH": str(ROOT / "usr" / "lib" / "x86_64-linux-gnu") if str(ROOT) != "/" else "",
        }  # fmt: skip
        for name, port, upstream in zip(("OPERATOR", "VIEWER"), self.ports, upstreams, strict=True):
            place = f"127.0.0.1:{port}"
            self.environment |= {f"{name}_LISTEN": place, f"{name}_URL": f"http://{place}"}
            self.environment[f"{name}_UPSTREAM"] = f"127.0.0.1:{upstream}"
        self.log = folder / "log"

    def command(self, *more: str) -> list[str]:
        return [str(APACHE), "-f", str(CONF), *more]

    def get(self, browser: OpenerDirector, which: int, path: str = "/runs", **headers: str) -> tuple[int, str]:
        request = Request(
            f"http://127.0.0.1:{self.ports[which]}{path}", headers={n.replace("_", "-"): v for n, v in headers.items()}
        )
        try:
            with browser.open(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as exc:
            return exc.code, exc.read().decode()


def browser() -> OpenerDirector:
    return build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Echo) for _ in range(2)]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    with openid_provider() as provider:
        site = Site(tmp_path_factory.mktemp("proxy"), provider, [server.server_port for server in servers])
        command = site.command("-D", "FOREGROUND")
        try:
            with running(command, site.ports[0], log=site.log, seconds=15, environment=site.environment):
                yield site
        except ServerAbsent as exc:
            raise AssertionError(site.log.read_text()) from exc
        finally:
            for server in servers:
                server.shutdown()
                server.server_close()


def test_who_logged_in_is_named_to_dagster_and_what_a_client_says_of_itself_is_gone(site: Site) -> None:
    site.provider.person = {"email": CANARY, "groups": ["operators"]}
    someone = browser()
    status, told = site.get(someone, 0, X_Forwarded_User="root", X_Forwarded_Groups="operators", X_Remote_User="root")
    lines = told.splitlines()
    assert status == 200 and lines[:2] == [str(site.upstreams[0]), "/runs"]
    assert [line for line in lines if "user:" in line.lower() or "groups:" in line.lower()] == [
        f"X-Forwarded-User: {CANARY}"
    ]
    logins = site.provider.logins
    status, told = site.get(someone, 0, "/graphql", X_Forwarded_User="root")
    # the session goes on, and its cookie stays with the proxy
    assert status == 200 and f"X-Forwarded-User: {CANARY}" in told and site.provider.logins == logins
    assert "mod_auth_openidc" not in told and "OIDC" not in told


@pytest.mark.parametrize(
    "connection",
    [
        ("x-forwarded-user",),
        ("keep-alive, X-Forwarded-User",),
        ("close", "X-FORWARDED-USER"),
        ("x-forwarded-user,x-forwarded-user",),
    ],
)
def test_an_operator_cannot_have_the_proxys_own_header_dropped_on_the_way(site: Site, connection: tuple[str, ...]) -> None:
    """What `Connection` names a proxy must not pass on: without its name a run would be that of nobody, and of whom a tag claims."""
    site.provider.person = {"email": CANARY, "groups": ["operators"]}
    jar = CookieJar()
    assert site.get(build_opener(ProxyHandler({}), HTTPCookieProcessor(jar)), 0)[0] == 200
    asking = HTTPConnection("127.0.0.1", site.ports[0], timeout=20)
    asking.putrequest("GET", "/graphql")
    asking.putheader("Cookie", "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar))
    for value in connection:
        asking.putheader("Connection", value)
    asking.endheaders()
    answer = asking.getresponse()
    told = answer.read().decode()
    asking.close()
    assert answer.status == 200 and f"X-Forwarded-User: {CANARY}" in told.splitlines()


def test_nobody_passes_without_a_login(site: Site) -> None:
    nobody = build_opener(ProxyHandler({}))
    # as a page asks in the background: no login is shown
    for which in (0, 1):
        status, told = site.get(nobody, which, "/graphql", Sec_Fetch_Mode="cors", X_Forwarded_User="root")
        assert status == 401 and str(site.upstreams[which]) not in told.splitlines()
        status, told = site.get(nobody, which, "/graphql", Sec_Fetch_Mode="cors", Cookie="mod_auth_openidc_session=forged")
        assert status in (400, 401) and str(site.upstreams[which]) not in told.splitlines()


def test_who_is_no_operator_sees_the_read_only_webserver_alone(site: Site) -> None:
    for claims in ({"email": "ben@example.org", "groups": ["readers"]}, {"email": "ben@example.org"}):
        site.provider.person = claims
        assert site.get(browser(), 0)[0] == 403
        status, told = site.get(browser(), 1)
        assert status == 200 and told.splitlines()[0] == str(site.upstreams[1])
        assert "X-Forwarded-User: ben@example.org" in told


def test_a_login_that_another_began_or_forged_is_refused(site: Site) -> None:
    site.provider.person = {"email": CANARY, "groups": ["operators"]}
    status, told = site.get(browser(), 0, "/oidc/callback?code=stolen&state=unknown")
    assert status >= 400 and str(site.upstreams[0]) not in told.splitlines()
    true_key = site.provider.key
    try:
        from cryptography.hazmat.primitives.asymmetric import rsa

        forged = rsa.generate_private_key(65537, 2048)
        jwks = site.provider.documents("/jwks")
        site.provider.key = forged
        # the keys that the provider publishes stay the true ones
        site.provider.documents = lambda path, kept=site.provider.documents: jwks if path == "/jwks" else kept(path)  # type: ignore[method-assign,misc]
        _, told = site.get(browser(), 0)
        assert "Error" in told and str(site.upstreams[0]) not in told.splitlines()
    finally:
        site.provider.key = true_key
        del site.provider.documents  # type: ignore[method-assign]


def test_no_log_has_a_code_or_a_token(site: Site) -> None:
    site.provider.person = {"email": CANARY, "groups": ["operators"]}
    assert site.get(browser(), 0)[0] == 200
    text = site.log.read_text()
    assert "GET /runs" in text and CANARY in text
    assert "code=" not in text and "state=" not in text and SECRET not in text


def test_the_configuration_with_tls_is_accepted_by_the_binary_s_own_check(site: Site) -> None:
    if not (MODULES / "mod_ssl.so").is_file() or shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: install the package openssl")
    secrets = Path(site.environment["FILES"])
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(secrets / "tls.key"), "-out", str(secrets / "tls.crt"),
         "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True,
    )  # fmt: skip
    done = subprocess.run(site.command("-t", "-D", "TLS"), env=site.environment, capture_output=True, text=True)
    assert done.returncode == 0 and "Syntax OK" in done.stderr, done.stderr
