"""A run record without a run; a browser."""

import os
import shutil
from pathlib import Path

import pytest

from training.run_record.record import DataInfo, Device, Git, RunRecord, Throughput

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture
def record():
    """`record(model, bits, seed, **changes)`: a finished run with three validations, the last of `bits` per byte."""
    return make


def make(model, bits, seed=0, **changes):
    rows = [
        {
            "step": step,
            "epoch": step / 100,
            "tokens": 4096 * step,
            "split": "validation",
            "nats": value * 0.6931,
            "bits_per_byte": value,
            "standard_error": 0.01,
            "bytes": 5000,
        }
        for step, value in zip((10, 20, 30), (bits + 1, bits + 0.2, bits), strict=True)
    ]
    values = {
        "config": {"model": {"name": model}, "scale": {"name": "250k"}, "data": {"context": 256}},
        "config_hash": "0123456789",
        "parameters": {"total": 250_000},
        "flops_per_token": 1,
        "data": DataInfo("stdlib", "ab" * 32, {"train": 90_000, "validation": 5000, "test": 5000}, {}),
        "seed": seed,
        "device": Device("cpu", "a processor", 2),
        "versions": {},
        "git": Git(),
        "command": "python train.py",
        "started": "2026-01-01T00:00:00+00:00",
        "status": "done",
        "metrics": rows,
        "final": rows[-1],
        "throughput": Throughput(12345.6, 78.9),
    }
    return RunRecord(**(values | changes))


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium that is installed. Without one: skipped, or failed where SYNCHRONY_BROWSER=required."""
    absent = pytest.fail if os.environ.get("SYNCHRONY_BROWSER") == "required" else pytest.skip
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed: type make setup")
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = next(filter(None, map(shutil.which, CHROMIUM)), own if Path(own).exists() else None)
        if path is None:
            absent("no Chromium: type apt-get install chromium, or .venv/bin/playwright install chromium")
        started = playwright.chromium.launch(executable_path=path)
        yield started
        started.close()


@pytest.fixture
def opened(browser):
    """`opened(file, width, height)`: the page in a tab of that size, offline; no error, request or overflow."""
    tabs = []

    def open_(file, width, height):
        tab = browser.new_page(viewport={"width": width, "height": height}, offline=True)
        tabs.append(tab)
        complaints, requests = [], []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(file.as_uri(), wait_until="load")
        assert complaints == []
        assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        return tab

    yield open_
    for tab in tabs:
        tab.close()
