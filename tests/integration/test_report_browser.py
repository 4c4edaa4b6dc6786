"""The report in a real Chromium, offline: it shows itself whole, asks for nothing, and hostile text stays text."""

import os
from pathlib import Path

import pytest
from report_results import SHA, Shape, stage_of, write_results

from npo_pipeline.analysis.report.build import build_report

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHAPE = Shape(steps=30, problems=16, samples=4, methods=("npo", "autonpo", "autonpo_online", "a_method_with_a_very_long_name_indeed"))


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        message = f"{CHROMIUM} is not installed: apt-get install chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    layout = write_results(tmp_path_factory.mktemp("a report"), SHAPE)
    build_report(stage_of(SHAPE), layout, SHA)
    return layout.report


@pytest.fixture(params=[(1280, "light"), (1280, "dark"), (390, "light")], ids=lambda param: f"{param[0]}-{param[1]}")
def opened(browser, report, request):
    """The page, with everything it said or asked for on the way."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_offline(True)
    page, heard = context.new_page(), []
    page.on("console", lambda message: heard.append(f"console {message.type}: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.on("dialog", lambda dialog: heard.append(f"dialog: {dialog.message}"))
    page.on("requestfailed", lambda failed: heard.append(f"failed: {failed.url[:80]}"))
    expected = (report.as_uri(), "data:")
    page.on("request", lambda asked: None if asked.url.startswith(expected) else heard.append(f"request: {asked.url}"))
    page.goto(report.as_uri(), wait_until="load")
    yield page, heard
    context.close()


def test_the_report_is_whole_and_quiet(opened):
    page, heard = opened
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    for image in page.locator("img").all():
        assert image.is_visible()
        assert image.evaluate("one => one.naturalWidth") > 0
        assert image.bounding_box()["width"] > 300
    assert page.locator("img").count() == 6
    assert page.locator("figcaption").count() == 6
    assert heard == []


def test_hostile_text_stays_text(opened):
    page, _ = opened
    assert page.evaluate("window.pwned") is None
    assert page.locator("script").count() == 0
    assert page.locator("h1").inner_text() == "Near-Future <b>Policy</b> Optimization"
    assert page.locator(".sample pre").first.inner_text().endswith("| $x_{1 {{ 7*7 }} \\u202e")


def test_nothing_is_wider_than_the_page(opened):
    page, _ = opened
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_text_is_readable_on_its_ground(opened):
    """Contrast of at least 4.5 (WCAG AA) between each text's colour and the nearest ground that is painted."""
    page, _ = opened
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.evaluate(CONTRAST) >= 4.5


CONTRAST = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (one) => {
    for (; one; one = one.parentElement) {
      const found = parts(getComputedStyle(one).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const tags = 'p, td, th, h1, h2, h3, small, a, pre, summary, figcaption, dt, dd, footer';
  const texts = document.querySelectorAll(tags + ', .verdict, .good, .bad');
  return Math.min(...[...texts].map(one => {
    const [a, b] = [light(parts(getComputedStyle(one).color)), light(ground(one))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  }));
}"""
