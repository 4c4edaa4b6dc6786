"""Figures and the whole report: complete, self-contained, escaped, and the same bytes every time."""

import base64
import math
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from report_results import SHA, Shape, stage_of, write_results

from npo_pipeline.analysis.load import load_results
from npo_pipeline.analysis.report.build import build_report
from npo_pipeline.analysis.report.injection_figure import injected_slots
from npo_pipeline.analysis.report.signal_figure import best_distance, draw_signal, mean_curve, signal_curves
from npo_pipeline.errors import ArtifactError
from npo_pipeline.storage.layout import Layout

SHAPE = Shape(steps=18, problems=12, samples=4, difficulties=("$x_{", "4", "10"))
FIGURES = {"answer.svg", "curves.svg", "signal.svg", "injection.svg", "evaluation.svg", "difficulty.svg"}


class Tags(HTMLParser):
    """Collects start tags with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    written = write_results(tmp_path_factory.mktemp("build"), SHAPE)
    build_report(stage_of(SHAPE), written, SHA)
    return written


def test_all_files_are_written(layout):
    assert {path.name for path in layout.comparison.iterdir()} == FIGURES | {"table.csv", "table.md"}
    for name in FIGURES:
        assert ET.parse(layout.comparison / name).getroot().tag.endswith("svg")


def test_building_again_gives_the_same_bytes_and_removes_what_is_stale(layout):
    def contents():
        return {path.name: path.read_bytes() for path in [layout.report, *layout.comparison.iterdir()]}

    before = contents()
    (layout.comparison / "old.svg").write_text("stale")
    build_report(stage_of(SHAPE), layout, SHA)
    assert contents() == before


def test_a_comparison_over_seeds_is_left_alone(layout, tmp_path):
    copy = Layout(shutil.copytree(layout.root, tmp_path / "copy"))
    for file in copy.comparison.iterdir():
        file.write_text("of the comparison")
    (copy.comparison / "manifest.json").write_text("{}")
    build_report(stage_of(SHAPE), copy, SHA)
    assert {file.read_text() for file in copy.comparison.iterdir()} == {"of the comparison", "{}"}
    assert copy.report.stat().st_size > 50_000


def test_the_page_loads_nothing_and_holds_no_foreign_tag(layout):
    tags = Tags(layout.report.read_text()).found
    assert not {"script", "iframe", "object", "i"} & {tag for tag, _ in tags}
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    addresses = [attributes[key] for _, attributes in tags for key in ("src", "href") if key in attributes]
    assert len(addresses) > len(FIGURES)
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"url\(|@import|\u202e", layout.report.read_text())


def test_links_lead_somewhere_and_figures_are_those_of_the_folder(layout):
    tags = Tags(layout.report.read_text()).found
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for _, attributes in tags if attributes.get("href", "").startswith("#")} <= set(ids)
    images = [attributes for tag, attributes in tags if tag == "img"]
    shown = [base64.b64decode(attributes["src"].removeprefix("data:image/svg+xml;base64,")) for attributes in images]
    assert set(shown) == {(layout.comparison / name).read_bytes() for name in FIGURES}
    assert all(len(attributes["alt"]) > 30 for attributes in images)


def test_a_report_that_fails_leaves_the_last_one_as_it_was(layout, tmp_path):
    before = layout.report.read_bytes()
    stage = stage_of(SHAPE)
    with pytest.raises(ArtifactError, match="luffy"):
        build_report(replace(stage, methods=["luffy"]), layout, SHA)
    assert layout.report.read_bytes() == before
    assert (layout.comparison / "curves.svg").is_file()


LEVELS = tuple(f"level {i} of many" for i in range(15))
NAMES = ("npo", "m$_{", "c", "d", "e", "f", "g", "h", "i")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "shape",
    [
        Shape(seeds=(0,), methods=("npo",), steps=1, problems=1, samples=1, difficulties=("all",)),
        Shape(seeds=(0,), methods=NAMES, steps=3, problems=30, samples=1, difficulties=LEVELS),
    ],
    ids=["one of everything", "many of everything"],
)
def test_extreme_shapes_are_drawn_without_a_warning(tmp_path, shape):
    layout = write_results(tmp_path, shape)
    build_report(stage_of(shape), layout, SHA)
    assert (layout.comparison / "difficulty.svg").is_file() is (len(shape.difficulties) > 1)
    assert layout.report.stat().st_size > 50_000


def with_signal(results, *signals):
    """`results` with the rows (current_step, distance, q, s) as the signal of each seed."""
    rows = [tuple({"current_step": c, "distance": d, "q": q, "v": 1.0, "s": s} for c, d, q, s in signal) for signal in signals]
    return replace(results, seeds=tuple(replace(seed, signal=found) for seed, found in zip(results.seeds, rows, strict=True)))


def test_signal_curves_skip_what_is_unknown_and_average_seeds(layout):
    first, second = [(0, 3, 0.2, 0.2), (0, 6, 0.6, 0.5), (3, 3, None, math.nan)], [(0, 3, 0.4, 0.4)]
    results = with_signal(load_results(stage_of(SHAPE), layout), first, second)
    assert signal_curves(results, "q") == {0: {3: pytest.approx(0.3), 6: 0.6}}
    assert mean_curve({0: {3: 1.0, 6: 2.0}, 3: {3: 3.0}}) == {3: 2.0, 6: 2.0}
    assert best_distance(results) == 6
    assert "longest measured distance, 6 steps" in draw_signal(results).how_to_read


def test_an_interior_peak_and_an_absent_signal_are_said(layout):
    results = load_results(stage_of(SHAPE), layout)
    peak = with_signal(results, [(0, 3, 0.2, 0.2), (0, 6, 0.6, 0.5), (0, 9, 0.7, 0.3)], [])
    assert "peaks 6 steps ahead, inside the measured range" in draw_signal(peak).how_to_read
    assert best_distance(with_signal(results, [], [])) is None
    assert "No distance could be measured" in draw_signal(with_signal(results, [], [])).alt


def test_injected_slots_add_up_to_the_log(layout):
    results = load_results(stage_of(SHAPE), layout)
    bars = injected_slots(results, "npo")
    logged = [row["guide/injected"] for seed in results.seeds for row in seed.runs["npo"].metrics]
    assert set(bars) == {9, 18}
    assert sum(count for steps in bars.values() for count in steps.values()) == pytest.approx(sum(logged) / 2)
    assert max(bars[9]) < 9 <= min(bars[18])
    assert injected_slots(results, "autonpo") == {}


def test_the_page_says_from_how_many_initial_policies_its_seeds_started(layout, tmp_path):
    assert "initial policies</p>" not in layout.report.read_text()
    several = Layout(shutil.copytree(layout.root, tmp_path / "copy"), cold_starts=2)
    build_report(stage_of(SHAPE), several, SHA)
    assert "(0, 1), from 2 initial policies</p>" in several.report.read_text()
