"""Start ``cosmicgate view`` with the tiny network, for tests, and open its page in a Chromium."""

import shutil
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers.mask_command import start_process

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# The browser only shows the page: no updates, no account, no name look-ups.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


def client(images, token="secret", host="127.0.0.1"):
    """Make a client of the application of the viewer, which sends a Host header."""
    from cosmicgate.viewer.server import application

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # starlette's client would rather have httpx2, which nothing else here needs
        from starlette.testclient import TestClient
    return TestClient(application(images, token), base_url=f"http://{host}")


@contextmanager
def served(*words):
    """Run ``cosmicgate view`` in a process of its own; yield the address that it prints."""
    process = start_process("view", *words, "--no-browser")
    try:
        address = process.stdout.readline().strip()
        if not address.startswith("http://127.0.0.1:"):
            process.kill()
            pytest.fail(f"no address: {address} {process.communicate()}")
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def browser():
    """Start a headless Chromium for the tests of a module; skip them if there is none."""
    driver = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs a Chromium (apt-get install chromium)")
    with driver.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


def opened_page(browser, address, width=1280, height=800):
    """Open a page; return it and a list to which its errors and its requests to other places are appended."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(120_000)  # other processes may have the cores
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda one: None if one.url.startswith((address, "data:")) else faults.append(one.url))
    page.goto(address)
    page.locator("body[data-ready=yes]").wait_for()
    return page, faults


def write_sky(path: Path, image, **cards):
    """Write an image with a complete header; return the path."""
    from astropy.io import fits

    header = fits.Header({"GAIN": 2.0, "RDNOISE": 6.0, "SATURATE": 5e4, "EXPTIME": 60.0, "FILTER": "r"} | cards)
    fits.writeto(path, image, header)
    return path
