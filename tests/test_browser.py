"""Explorers in JupyterLab as a person sees them, and what a saved notebook shows where no kernel runs.

Needs a browser, `pip install -e '.[test,browser]'`, and: python -m pytest -m slow tests/test_browser.py
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.examples import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IMPORTS = "from seqjax import explore, pretrained"
EXPLORERS = {
    "shift": "explore.ShiftPlotter(k=25)",
    "convolution": "explore.ConvoPlotter()",
    "lorenz": "explore.LorenzPlotter(K=4, J=10, amplitude=4.0)",
    "text": "explore.TextGenerator(prompt='the <cat>', length=40)",
    "shift evaluation": 'explore.ShiftEvaluation(*pretrained.load("shift_tcn_32_128"))',
    "lorenz evaluation": 'explore.LorenzEvaluation(*pretrained.load("lorenz_rnn_1_10_128"))',
}
SHOWN = "img[alt], pre > b"
"""What an explorer shows: a figure, or text with its prompt in bold."""

PNG = 'img[src^="data:image/png"]'

NO_NEWS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


def write_notebook(path: Path, *sources: str) -> None:
    cells = [{"cell_type": "code", "source": source, "outputs": []} for source in sources]
    for number, cell in enumerate(cells):
        cell |= {"id": f"cell-{number}", "metadata": {}, "execution_count": None}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    path.write_text(json.dumps(notebook))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Of a JupyterLab, and the folder of its notebooks."""
    home = tmp_path_factory.mktemp("home")
    settings = home / "config" / "labconfig" / "default_setting_overrides.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(NO_NEWS))
    places = {f"JUPYTER_{name.upper()}_DIR": str(home / name) for name in ("config", "data", "runtime")}
    environment = os.environ | places | {"HOME": str(home), "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    (home / "notebooks").mkdir()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--IdentityProvider.token=test"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=home / "notebooks", env=environment, stdout=log, stderr=log)
    try:
        while not (found := [*home.glob("runtime/jpserver-*.json")]):
            assert server.poll() is None, (home / "log").read_text()
            time.sleep(0.1)
        yield json.loads(found[0].read_text())["url"], home / "notebooks"
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """Of a browser that reaches this machine only."""
    chromium = shutil.which("chromium")
    assert chromium, "chromium must be installed, as by: apt-get install chromium"
    with import_module("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1400, "height": 5000})  # all cells are in view
        opened.set_default_timeout(60_000)
        opened.route("https://**", lambda route: route.abort())
        yield opened
        browser.close()


def open_notebook(page: Any, address: tuple[str, Path], name: str) -> None:
    page.goto(f"{address[0]}lab/tree/{name}?token=test&reset")
    page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()


def run_all(page: Any) -> None:
    for entry in ("Run", "Run All Cells"):
        page.get_by_role("menuitem", name=entry, exact=True).click()


def shown(page: Any) -> list[Any]:
    """The output of each cell but the first, which imports."""
    page.wait_for_function(f"document.querySelectorAll('{SHOWN}').length == {len(EXPLORERS)}", timeout=180_000)
    return page.locator(".jp-CodeCell .jp-OutputArea-output").all()


def content(output: Any) -> str:
    return output.locator(SHOWN).evaluate("shown => shown.src ?? shown.parentElement.innerText")


def pictures(html: Any) -> list[tuple[str, int, int]]:
    """The alternative text of each picture of a page, how wide it is in pixels, and how wide it is shown."""
    widths = "all => all.map(one => [one.alt, one.naturalWidth, one.getBoundingClientRect().width])"
    return [tuple(one) for one in html.locator("img[alt]").evaluate_all(widths)]


def test_explorers_in_jupyterlab_and_in_what_is_left_of_them(page, address):
    _, folder = address
    write_notebook(folder / "explorers.ipynb", IMPORTS, *(f"{source}.plot()" for source in EXPLORERS.values()))
    open_notebook(page, address, "explorers.ipynb")
    run_all(page)
    outputs = dict(zip(EXPLORERS, shown(page), strict=True))
    assert len(pictures(page)) == len(EXPLORERS) - 1
    for _, pixels, width in pictures(page):
        assert (pixels, width) == (9 * 160, 9 * 96)
    text = outputs["text"]
    assert content(text).startswith("the <unk>cat<unk>"), "which has no letter <"
    assert text.locator("cat, unk").count() == 0

    for name, output in outputs.items():
        bar = output.locator(".widget-hbox").first
        heights = bar.evaluate("bar => [...bar.children].map(control => control.getBoundingClientRect().height)")
        assert max(heights) < (60 if name == "text" else 40), "a control is one line high, a prompt two"
        edges = "box => box.getBoundingClientRect().right"
        for control in bar.locator("> *").all():
            assert control.evaluate(edges) <= output.evaluate(edges)

        refresh, before = output.get_by_role("button", name="Refresh"), content(output)
        refresh.evaluate("""button => {
            window.seen = [];
            const watch = new MutationObserver(() => window.seen.push([button.innerText.trim(), button.disabled]));
            watch.observe(button, {attributes: true, childList: true, subtree: true, characterData: true});
        }""")
        refresh.click()
        page.wait_for_function("window.seen.length && window.seen.at(-1)[0] == 'Refresh' && !window.seen.at(-1)[1]")
        assert ["computing …", True] in page.evaluate("window.seen")
        assert content(output) != before
        assert output.locator("input[type=number]").first.input_value() == "1"
        assert output.locator("[role=alert]").count() == 0

    convolution = outputs["convolution"]
    before, field = content(convolution), convolution.locator("input[type=text]").first
    field.fill("1, <abc>")
    field.press("Enter")
    assert convolution.locator("[role=alert]").inner_text() == (
        "filter must be comma-separated finite numbers, got '<abc>' at position 2"
    )
    assert content(convolution) == before
    field.fill(", ".join(["0.01"] * 200))
    field.press("Enter")
    convolution.locator("[role=alert]").wait_for(state="detached")
    assert pictures(convolution)[0][0] == "Convolution with a filter of 200 taps, sum 2"
    assert page.locator(".jp-OutputArea-output[data-mime-type*=stderr], .jp-mod-error").count() == 0

    page.keyboard.press("Control+s")
    saved = folder / "explorers.ipynb"
    while '"image/png"' not in saved.read_text():
        time.sleep(0.1)
    notebook = json.loads(saved.read_text())
    kept = [output["data"] for cell in notebook["cells"] for output in cell["outputs"]]
    assert [data.keys() >= {"image/png", "application/vnd.jupyter.widget-view+json"} for data in kept] == [True] * 6

    subprocess.run([sys.executable, "-m", "nbconvert", "--to", "html", saved], check=True, capture_output=True)
    page.goto(saved.with_suffix(".html").as_uri())
    sources = page.locator(PNG).evaluate_all("all => all.map(one => one.src)")
    assert sources == ["data:image/png;base64," + "".join(data["image/png"]).strip() for data in kept]
    assert [(pixels, width) for _, pixels, width in pictures(page)] == [(9 * 160, 9 * 96)] * len(EXPLORERS)

    # JupyterLab knows the notebooks that were run in it; this one it cannot know, and no kernel has its widgets.
    notebook["cells"][0]["source"] = "from seqjax import explore, pretrained  # of another person"
    (folder / "another.ipynb").write_text(json.dumps(notebook))
    open_notebook(page, address, "another.ipynb")
    page.wait_for_function(f"document.querySelectorAll('.jp-OutputArea-output img').length == {len(EXPLORERS)}")
    assert page.get_by_text("Error displaying widget").count() == 0


def test_the_tour_as_a_page(page, tmp_path):
    """Every picture of the saved notebook."""
    saved = ROOT / "experiments" / "tutorials" / "notebooks" / "tour.ipynb"
    outputs = [output for cell in json.loads(saved.read_text())["cells"] for output in cell.get("outputs", [])]
    drawn = sum("image/png" in output.get("data", {}) for output in outputs)
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", str(tmp_path), str(saved)]
    subprocess.run(command, check=True, capture_output=True)
    page.goto((tmp_path / "tour.html").as_uri())
    widths = page.locator(PNG).evaluate_all("all => all.map(one => one.naturalWidth)")
    assert len(widths) == drawn >= 6
    assert min(widths) > 0
