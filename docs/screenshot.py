"""Draw docs/graph.png: start the web server on a free port, open the global asset graph in headless Chromium, save the picture."""

import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from selenium import webdriver

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "graph.png": "/locations/orchestrai/asset-groups/churn/lineage",
    "asset.png": "/assets/churn/orders_raw_events?view=checks",
    "evaluation.png": "/assets/churn/churn_evaluation",
}


def free_port() -> int:
    """A loopback port that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, seconds: float) -> None:
    """Return once a page answers."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise SystemExit(f"expected {url} to answer within {seconds:.0f} s, found nothing")


def browser(profile: str) -> webdriver.Chrome:
    """Headless Chromium that talks to loopback only."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=2400,1400",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    return webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))


def main(target: Path) -> None:
    """Take the pictures."""
    port = free_port()
    command = [Path(sys.executable).with_name("dagster"), "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/server_info", 180)
        with tempfile.TemporaryDirectory() as profile:
            driver = browser(profile)
            try:
                for name, path in PAGES.items():
                    driver.get(f"http://127.0.0.1:{port}{path}")
                    time.sleep(12)
                    driver.save_screenshot(str(target / name))
            finally:
                driver.quit()
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
