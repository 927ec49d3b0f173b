"""A served page with a fake lab, and Debian's Chromium looking at it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from app.build import build, launch
from tests.app.fake_lab import FakeLab

ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
PATIENCE = 60_000  # milliseconds; a busy machine is slow, and waiting ends as soon as the thing is there
REQUIRED = "LISA_REQUIRE_BROWSER"


def chromium_or_reason() -> tuple[str, str]:
    """Path of the browser, or why there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        return "", "there is no chromium on this computer: install it with 'apt-get install chromium'"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "", "playwright is not installed: pip install -r requirements-dev.txt"
    return path, ""


@pytest.fixture(scope="session")
def browser() -> Iterator:
    path, reason = chromium_or_reason()
    if reason and os.environ.get(REQUIRED, "") not in ("", "0"):
        pytest.fail(f"{REQUIRED} is set, but {reason}")
    if reason:
        pytest.skip(reason)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab() -> FakeLab:
    return FakeLab()


@pytest.fixture(scope="module")
def url(browser, lab) -> Iterator[str]:
    page = build(lab)
    _, url, _ = launch(page, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield url
    page.close()


@pytest.fixture
def size() -> dict[str, int]:
    return {"width": 1280, "height": 800}


@pytest.fixture
def theme() -> str:
    return "light"


@pytest.fixture
def errors() -> list[str]:
    """What the browser logged as errors."""
    return []


@pytest.fixture
def page(browser, lab, url, size, theme, errors) -> Iterator:
    """The opened page; fails the test when the browser asked another host or logged an error."""
    lab.asked.clear()
    page = browser.new_page(viewport=size)
    page.set_default_timeout(PATIENCE)
    foreign = []
    page.on("request", lambda r: r.url.startswith((url, "data:", "blob:")) or foreign.append(r.url))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: errors.append(e.stack or str(e)))
    page.goto(f"{url}?__theme={theme}")
    page.get_by_role("button", name="Generate the pair").wait_for()
    yield page
    page.close()
    assert not foreign
    assert not errors
