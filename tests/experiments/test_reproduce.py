"""The report on all experiments: what it runs, what it survives, and that it is one page that loads nothing."""

import base64
import importlib
import io
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


def picture(width: int, height: int) -> bytes:
    """A PNG of noise, which is as large as can be."""
    made, pixels = io.BytesIO(), np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(made, "png")
    return made.getvalue()


PNG = picture(2, 3)
VOID = {"meta", "img"}

EXPERIMENT = '''"""Is a < b & "c"?

Figure    experiments/figures/{name}.png
Paper     Bai 2018, arXiv:1803.01271, and others, doi:10.1/a; 1 < 2
Question  Does <b>anything</b>
          happen?
Expect    error < 1 <script>alert(1)</script>
Fair      Equal steps.
Cost      1 s
Run       python experiments/{name}.py
Next      python experiments/{name}.py --scale gpu
"""
class Config: pass
{expect}
'''

RUN = """import argparse, json, pathlib, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--scale", default="laptop")
parser.add_argument("--out", default="results")
options = parser.parse_args()
{body}
done = pathlib.Path(options.out, "{name}", "run")
print("skipped" if done.exists() else "trained", "{name}", options.scale, flush=True)
done.parent.mkdir(parents=True, exist_ok=True)
done.touch()
home = done.parent if options.scale == "smoke" else pathlib.Path(options.out, "figures")
home.mkdir(parents=True, exist_ok=True)
(home / "{name}.png").write_bytes({png!r})
errors = {{"<rnn>": .1234567, "m": 1.0}}
rows = [dict(model=m, steps=20, parameters=7050, mse=e, low=e / 2, high=e * 2) for m, e in errors.items()]
rows[0]["floor"] = .1
numbers = dict(experiment="{name}", scale=options.scale, rows=rows, cost=dict(seconds=90.0, device="2 CPU cores"))
numbers |= dict(versions=[dict(jax="0.10.2"), dict(jax="0.10.3")], commit="abc<def")
(home / "{name}.json").write_text(json.dumps(numbers))
"""

WITHOUT_SCALE = '''"""A search.

Question  Where?
Run       python experiments/search.py
"""
import sys
print("searched", sys.argv[1:])
'''


class Page(HTMLParser):
    """Every tag with its attributes, all text, and whether the tags are nested as they should be."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text())
        self.close()

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for _, attributes in self.tags if attribute in attributes]


class Lab:
    """A folder `experiments` with reproduce.py and experiments that take no time."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "experiments").mkdir()
        for name in ("reproduce.py", "_report.py"):
            shutil.copy(ROOT / "experiments" / name, folder / "experiments")

    def add(self, name: str, body: str = "", chapter: str = "", expect: str = "") -> None:
        self.script(f"{chapter}/{name}").parent.mkdir(exist_ok=True)
        run = textwrap.indent(RUN.format(name=name, body=body, png=PNG), "    ")
        header = EXPERIMENT.format(name=name, expect=expect)
        self.script(f"{chapter}/{name}").write_text(f'{header}if __name__ == "__main__":\n{run}')

    def script(self, name: str) -> Path:
        return self.folder / "experiments" / f"{name.lstrip('/')}.py"

    def start(self, *arguments: str) -> subprocess.Popen:
        command, path = [sys.executable, str(self.script("reproduce")), *arguments], {"PYTHONPATH": str(ROOT)}
        out = err = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=os.environ | path, stdout=out, stderr=err, text=True)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        child = self.start(*arguments)
        out, err = child.communicate(timeout=60)
        return child.returncode, out, err

    def page(self, out: str = "results") -> Page:
        return Page(self.folder / out / "report.html")


@pytest.fixture
def lab(tmp_path, monkeypatch, capfd) -> Lab:
    """It runs in this process, and only its experiments in their own: a process takes 2 s to import."""
    made = Lab(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "experiments")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(made.script("reproduce")), *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(sys.argv[0], run_name="__main__")
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, *capfd.readouterr()

    monkeypatch.setattr(made, "run", run)
    return made


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Three experiments at the default scale: one that works, one that fails, one without a scale."""
    lab = Lab(tmp_path_factory.mktemp("first"))
    lab.add("good")
    lab.add("diverges", "sys.exit(4)")
    lab.script("search").write_text(WITHOUT_SCALE)
    return lab, lab.run()


def test_goes_on_after_a_failure_and_ends_with_its_code(first):
    _, (code, out, err) = first
    assert code == 4
    scripts = enumerate(("diverges", "good", "search"), start=1)
    started = [f"[{number}/3] python experiments/{name}.py" for number, name in scripts]
    assert re.findall(r"^\[\d/3\] .*$", err, re.MULTILINE) == started
    assert "trained good laptop\n" in out
    assert "searched []\n" in out
    assert re.search(r"^diverges +failed \(exit 4\)\ngood +finished\nsearch +missing\n", out, re.MULTILINE)
    assert out.endswith("\nreport results/report.html\n")


def test_report_is_one_sound_page_that_loads_nothing(first):
    page = first[0].page()
    assert page.open == []
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object", "base", "form"}
    assert [source for source in page.values("src") if not source.startswith("data:image/png;base64,")] == []
    assert base64.b64decode(page.values("src")[0].partition(",")[2]) == PNG
    links = page.values("href")
    assert {link[1:] for link in links if link[0] == "#"} <= set(page.values("id"))
    files = {link for link in links if link[0] != "#" and "//" not in link}
    assert {"../experiments/good.py", "../experiments/search.py", "figures/good.json", "figures/good.png"} <= files
    assert all((first[0].folder / "results" / file).is_file() for file in files)
    assert {link for link in links if "//" in link} == {"https://arxiv.org/abs/1803.01271", "https://doi.org/10.1/a"}
    assert links.count("#contents") == 3
    assert len(set(page.values("id"))) == len(page.values("id"))
    text = (first[0].folder / "results" / "report.html").read_text()
    assert not re.search(r"url\(|@import|src=.http", text)
    assert ("html", {"lang": "en"}) in page.tags


def test_report_tells_all_of_an_experiment_and_escapes_it(first):
    page = first[0].page()
    text = (first[0].folder / "results" / "report.html").read_text()
    assert not re.search("<b>|<rnn>", text)
    shown = ['Is a < b & "c"?', "Does <b>anything</b> happen?", "error < 1 <script>alert(1)</script>", "Equal steps."]
    shown += ["90.0 s on 2 CPU cores", "jax 0.10.2; jax 0.10.3", "abc<def", "good: finished, 1.5 min"]
    shown += ["diverges: failed (exit 4)", "python experiments/good.py", "Scale laptop: "]
    assert [text for text in shown if text not in page.text] == []
    assert page.values("alt") == ['Is a < b & "c"?']


def test_table_has_the_band_the_floor_and_the_ratio(first):
    page = first[0].page()
    assert "In all rows: steps 20, parameters 7,050." in page.text
    for line in ("modelmse [low, high]floormse / floor", "<rnn>0.1235 [0.06173, 0.2469]0.11.235", "m1 [0.5, 2]"):
        assert f"\n{line}\n" in page.text, line
    assert page.values("scope") == ["col"] * 4 + ["row"] * 2
    numbers = [attributes.get("class") for tag, attributes in page.tags if tag == "td"]
    assert numbers == ["number"] * 6


def test_long_texts_have_lines_and_several_numbers_their_names(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    report = importlib.import_module("_report")
    rows = [{"only": name, "verdict": f"{name} " + "word " * 10, "also": {"a floor": 0.25}} for name in ("A", "B")]
    table = report.table([rows[0], rows[1] | {"also": {"slope": 0.54321, "steps": 1_000}}], "label")
    assert '<td class="long">B word word' in table
    assert '<td class="several" colspan="2">also: a floor 0.25</td>' in table
    assert '<td class="several" colspan="2">also: slope 0.5432; steps 1,000</td>' in table


def test_a_missing_figure_is_said(first):
    page = first[0].page()
    figures = first[0].folder / "experiments" / "figures"
    for name in ("diverges", "search"):
        assert f"There is no figure: {figures / name}.png does not exist or is damaged." in page.text
        assert f"There are no numbers: {figures / name}.json does not exist or is damaged." in page.text
    assert "search: missing" in page.text


def test_a_second_run_skips_and_draw_runs_nothing(lab):
    lab.add("good")
    lab.add("other")
    report = lab.folder / "new" / "out" / "report.html"
    options = ("--scale", "smoke", "--out", "new/out")
    code, out, _ = lab.run(*options)
    assert (code, out.count("trained"), out.count("skipped")) == (0, 2, 0)
    text = report.read_text()
    assert "python experiments/good.py --scale smoke --out new/out" in text
    assert not (lab.folder / "experiments" / "figures").exists()
    assert not (lab.folder / "results").exists()

    code, out, _ = lab.run(*options)
    assert (code, out.count("trained"), out.count("skipped")) == (0, 0, 2)
    assert report.read_text() == text

    report.unlink()
    lab.add("good", "sys.exit(1)")
    code, out, err = lab.run(*options, "--draw")
    assert (code, err) == (0, "")
    assert "skipped" not in out
    assert report.read_text() == text


def contents(page: Page) -> list[str]:
    return [link for link in page.values("href") if link[0] == "#" and link != "#contents"]


def test_only_what_is_asked_for_and_smoke_leaves_out_what_has_no_scale(lab):
    lab.add("good")
    lab.add("other")
    lab.script("search").write_text(WITHOUT_SCALE)
    code, out, _ = lab.run("--scale", "smoke", "--only", "good", "search")
    assert code == 0
    assert "searched" not in out
    assert contents(lab.page()) == ["#good"]
    assert "Left out, as they have no such scale: search." in lab.page().text

    code, out, err = lab.run("--only", "god", "--out", "nowhere")
    assert (code, out) == (2, "")
    assert err.startswith("error: only must name experiments of ")
    assert err.endswith("(good, other, search), got 'god'\n")
    assert not (lab.folder / "nowhere").exists()


def test_figures_of_another_scale_or_an_earlier_run_are_called_so(lab):
    figures = lab.folder / "experiments" / "figures"
    figures.mkdir()
    lab.add("good", "sys.exit(3)")
    (figures / "good.png").write_bytes(PNG)
    numbers = {"scale": "gpu", "rows": [{"model": "rnn", "validation_mse": 0.5}], "commit": "abc"}
    (figures / "good.json").write_text(json.dumps(numbers))
    lab.script("search").write_text(WITHOUT_SCALE)
    (figures / "search.json").write_text('{"scale": "lap')
    code, out, _ = lab.run("--out", "elsewhere", "--only", "search")
    assert code == 0
    assert f"searched ['--out', '{Path('elsewhere', 'search')}']" in out
    assert f"{figures / 'search.json'} does not exist or is damaged." in lab.page("elsewhere").text

    assert lab.run("--only", "good")[0] == 3
    text = lab.page().text
    assert "This is the result of an earlier run." in text
    assert "The numbers are from scale gpu." in text
    assert "not measured" in text


DAMAGED = {
    "deep": "[" * 100_000,
    "cut": '{"rows": [',
    "listed": "[1]",
    "rows": '{"rows": [1, 2]}',
    "cost": '{"rows": [{"a": 1}], "cost": {"seconds": "1", "device": "x"}}',
    "ratio": '{"rows": [{"a": "x", "low": 1, "high": 2, "floor": 1}]}',
    "bytes": "\ud800",
}


def test_damaged_numbers_are_named_and_the_report_goes_on(lab):
    figures = lab.folder / "experiments" / "figures"
    figures.mkdir()
    for name, text in DAMAGED.items():
        lab.add(name)
        (figures / f"{name}.png").write_bytes(PNG)
        (figures / f"{name}.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    code, out, err = lab.run("--draw")
    assert (code, err) == (0, "")
    for name in DAMAGED:
        assert re.search(rf"^{name} +damaged \({re.escape(str(figures / name))}\.json\)$", out, re.MULTILINE)
        assert f"{figures / name}.json does not exist or is damaged." in lab.page().text


def test_experiments_are_run_and_listed_chapter_by_chapter(lab):
    lab.add("everywhere")
    lab.add("chart", chapter="theory")
    lab.add("delay", chapter="memory")
    lab.add("_shared", chapter="memory")
    (lab.folder / "experiments" / "memory" / "_intro.md").write_text("# Of memory\n\nText.\n")
    code, out, _ = lab.run("--scale", "smoke")
    assert code == 0
    assert re.findall(r"^trained (\w+)", out, re.MULTILINE) == ["delay", "chart", "everywhere"]
    page = lab.page()
    assert contents(page) == ["#delay", "#chart", "#everywhere"]
    text = page.text[page.text.index("Contents") : page.text.index("python experiments/memory/delay.py")]
    assert re.findall(r"^(Of memory|Theory|All chapters)$", text, re.MULTILINE) == [
        "Of memory",
        "Theory",
        "All chapters",
    ]


def test_a_file_in_place_of_the_folder_is_exit_5(lab):
    lab.add("good")
    (lab.folder / "taken").write_text("a file")
    code, out, err = lab.run("--out", "taken")
    assert (code, out) == (5, "")
    assert err == "error: [Errno 17] File exists: 'taken'\n"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_experiment_and_ends_both(lab, signum):
    lab.add("other")
    wait = "import signal\nfor s in (2, 15): signal.signal(s, lambda *_: sys.exit(pathlib.Path('saved').touch()))\n"
    lab.add("good", wait + "pathlib.Path('began').touch()\ntime.sleep(30)")
    child = lab.start()
    while child.poll() is None and not (lab.folder / "began").exists():
        time.sleep(0.02)
    child.send_signal(signum)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 128 + signum
    assert (lab.folder / "saved").exists()
    assert re.search(rf"^good +stopped \(exit {128 + signum}\)\nother +not run\n", out, re.MULTILINE)
    assert err.endswith("stopped; the state is saved: the same command goes on from it\n")
    page = lab.page()
    assert "The run was stopped; the same command goes on from there." in page.text
    assert "Not run: other." in page.text
    assert f"good: stopped (exit {128 + signum})" in page.text
    assert "other: not run" in page.text
    assert "There are no numbers: " in page.text


EXPECT = """
def expect(rows):
    from seqjax import runs
    errors = {row["model"]: row["mse"] for row in rows}
    return [runs.check("m & n", errors["m"], "< 2"), runs.check("<rnn>", errors["<rnn>"], "< .1"), runs.every("x", [])]
"""


def test_verdicts_are_shown_and_what_is_damaged_costs_its_own_section(lab):
    lab.add("broken", expect="def expect(rows): raise KeyError('mse')")
    lab.add("good", expect=EXPECT)
    lab.add("cut")
    lab.add("text")
    assert lab.run()[0] == 0
    text, page = (lab.folder / "results" / "report.html").read_text(), lab.page()
    assert '<li class="holds"><b>✓</b>m &amp; n: &lt; 2 <small>(1)</small></li>' in text
    assert '<li class="fails"><b>✗</b>&lt;rnn&gt;: &lt; .1 <small>(0.1235)</small></li>' in text
    assert '<li class="open"><b>–</b>x <small>(not measured)</small></li>' in text
    assert "good: finished, 1.5 min, 1 of 2 hold, 1 not measured" in page.text
    assert "Of all expectations, 1 of 2 hold, 1 not measured." in page.text
    assert "The expectations were not compared: KeyError: 'mse'" in page.text
    assert page.open == []

    figures = lab.folder / "results" / "figures"
    (figures / "cut.png").write_bytes(PNG[:40])
    (figures / "text.png").write_text("text")
    (figures / "broken.json").write_text("{")
    code, out, err = lab.run("--draw")
    assert (code, err) == (0, "")
    damaged = "^broken +damaged .results/figures/broken.json.\ncut +damaged .results/figures/cut.png.\n"
    assert re.search(f"{damaged}good +finished\ntext +damaged .results/figures/text.png.$", out, re.MULTILINE)
    page = lab.page()
    assert "There is no figure: results/figures/cut.png does not exist or is damaged." in page.text
    assert "good: finished, 1.5 min, 1 of 2 hold" in page.text
    assert [base64.b64decode(source.partition(",")[2]) for source in page.values("src")] == [PNG, PNG]


def test_numbers_of_smoke_runs_are_not_compared(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    report, figure = importlib.import_module("_report"), tmp_path / "plain.png"
    script = tmp_path / "plain.py"
    script.write_text("def expect(rows):\n    return rows\n")
    for scale, checks in (("smoke", []), ("laptop", [{"a": 1}])):
        figure.with_suffix(".json").write_text(json.dumps({"scale": scale, "rows": [{"a": 1}]}))
        assert report.Result(script, figure, "", scale, 0).checks == checks


def test_large_pictures_become_small(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    report = importlib.import_module("_report")
    noise, lines = tmp_path / "noise.png", tmp_path / "lines.png"
    noise.write_bytes(picture(500, 250))
    pixels = np.full((900, 1800, 3), 255, np.uint8)
    pixels[::7], pixels[:, ::9] = (200, 30, 30), np.arange(200)[:, None]
    Image.fromarray(pixels).save(lines, compress_level=0)
    for path, smallest in ((noise, 240), (lines, 1240)):
        made = report.encoded(path)
        assert len(made) <= 80_000 < path.stat().st_size
        with Image.open(io.BytesIO(made)) as small:
            assert small.format == "PNG"
            assert small.width >= smallest
            assert abs(small.height - small.width / 2) <= 1


def test_a_long_table_is_opened_by_a_click_and_a_short_one_is_there(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    report = importlib.import_module("_report")
    rows = [{"a": number} for number in range(31)]
    assert "<details><summary>All 31 rows</summary>" in report.table(rows, "label")
    assert "<details>" not in report.table(rows[:30], "label")
