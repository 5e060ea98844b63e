"""Draw the pictures of docs/ in headless Chromium: pages of Dagster from a web server on a free port, and our own pages from files."""

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

# our own pages: what writes one, where it is scrolled to, and the size of the picture
OWN = {
    "report.png": (("report", "--out"), "", (1240, 1150)),
    "report-plots.png": (("report", "--out"), "#datasets", (1240, 900)),
    "model-page.png": (("model", "page", "churn", "--out"), "", (1420, 1500)),
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


def draw_own(driver: webdriver.Chrome, target: Path, folder: Path) -> None:
    """Pictures of the pages that the command line writes."""
    for name, (words, anchor, size) in OWN.items():
        page = folder / name.replace(".png", ".html")
        subprocess.run([str(Path(sys.executable).with_name("orchestrai")), *words, str(page)], cwd=ROOT, check=True)
        driver.set_window_size(*size)
        driver.get(page.as_uri() + anchor)
        driver.save_screenshot(str(target / name))


def draw_dagster(driver: webdriver.Chrome, target: Path) -> None:
    """Pictures of Dagster's pages."""
    port = free_port()
    command = [Path(sys.executable).with_name("dagster"), "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/server_info", 180)
        for name, path in PAGES.items():
            driver.get(f"http://127.0.0.1:{port}{path}")
            time.sleep(12)
            driver.save_screenshot(str(target / name))
    finally:
        server.terminate()
        server.wait(30)


def main(target: Path) -> None:
    """Take the pictures."""
    with tempfile.TemporaryDirectory() as profile, tempfile.TemporaryDirectory() as folder:
        driver = browser(profile)
        try:
            draw_dagster(driver, target)
            draw_own(driver, target, Path(folder))
        finally:
            driver.quit()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
