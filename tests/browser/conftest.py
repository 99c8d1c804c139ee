"""A headless Chromium, and the pages to open in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import tiny_report
import tiny_scored
from browser.chromium import Browser
from squall.report.page import Section, page_html, table_html

_SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="needs selenium: pip install 'squall[dev]'"
    )
    binary = next(filter(None, map(shutil.which, _BROWSERS)), None)
    chromedriver = shutil.which("chromedriver")
    if binary is None or chromedriver is None:
        pytest.skip("needs Chromium and its driver (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for switch in _SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=chromedriver)
    )
    driver.set_script_timeout(60)
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@pytest.fixture(scope="session")
def report_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two systems with two seeds each, beside their experiments."""
    pytest.importorskip("matplotlib")
    from squall.asr.report.sections import collect

    folder = tmp_path_factory.mktemp("report with spaces & signs #1")
    experiments = [
        tiny_report.write_experiment(folder, loss={"name": name}, seed=seed, errors=errors)
        for name, errors in (("ce", 0.3), ("squentropy", 0.15))
        for seed in (1, 2)
    ]
    collect(experiments).write_html(folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="session")
def enhancement_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores and examples of three systems in five conditions, two of which are folded."""
    pytest.importorskip("matplotlib")
    from squall.enhance.report.comparison import scored_runs
    from squall.enhance.report.dots import score_section
    from squall.enhance.report.examples import example_section

    folder = tmp_path_factory.mktemp("enhancement")
    snrs = {"babble": (-5, 0, 5), "drill": (0, 5)}
    places = [(f"{n}/{snr}dB", f"u{k}") for n in snrs for snr in snrs[n] for k in range(3)]
    written = [
        tiny_scored.write_run(
            folder, name, {p: mean + 0.01 * n for n, p in enumerate(places)}, seconds=0.6
        )
        for name, mean in {"noisy": 0.5, "kernel": 0.6, "rnnoise": 0.7}.items()
    ]
    experiments, runs = [one for one, _ in written], [run for _, run in written]
    sections = [
        score_section(scored_runs(experiments, runs)),
        example_section(experiments, runs),
    ]
    (folder / "page.html").write_text(page_html("Enhancement", sections))
    return folder / "page.html"


@pytest.fixture(scope="session")
def table_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with one table, whose cells have all forms that the tables of reports have."""
    head = ["name", "rate", "time", "p", "seed", "nothing"]
    rows = [
        ["Zebra", "8.93 (of 773)", "40.1 min", "< 0.001", "10", ""],
        ["ärger", "", "1.2 ± 0.3 min", "0.300", "2", ""],
        ["apple", "undefined", "100.0 min", "0.041", "mean ± sd of 2", ""],
        ["apple", "10.20 (of 773)", "", "0.500", "1", ""],
        ["", "-1.50 (of 773)", "1e-3 min", "0.041", "2", ""],
        ["<b>bold</b>", "8.93 (of 11)", "1,000 min", "", "1", ""],
    ]
    path = tmp_path_factory.mktemp("table") / "page.html"
    path.write_text(page_html("A table", [Section("Rates", table_html(head, rows))]))
    return path
