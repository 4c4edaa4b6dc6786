"""The whole comparison from written results: its table, figures, findings and manifest, and what a missing file says."""

import csv
import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from statistics import fmean

import pytest
import yaml
from comparison_results import DEMONSTRATION_TOKENS, GUIDE_TOKENS, METHODS, comparison_of, write_comparison
from report_results import SHA, Shape

from npo_pipeline.analysis.comparison.build import build_comparison
from npo_pipeline.analysis.comparison.findings import findings
from npo_pipeline.analysis.comparison.load import load_comparison
from npo_pipeline.analysis.comparison.summary import summarise_comparison
from npo_pipeline.configuration.compose import load_stage
from npo_pipeline.configuration.stages import ComparisonStage
from npo_pipeline.context import Context
from npo_pipeline.errors import ArtifactError
from npo_pipeline.stages.comparison import run
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import verify

SHAPE = Shape(seeds=(0, 1, 4), methods=METHODS, steps=24, problems=24, samples=4, difficulties=tuple(str(i) for i in range(7, 19)))
FILES = {
    "table.csv",
    "table.md",
    "seeds.csv",
    "equal.csv",
    "findings.json",
    "manifest.json",
    "curves.svg",
    "entropy.svg",
    "speedup.svg",
    "compute.svg",
}
OWN = sum(4000 + step for step in range(24))  # tokens of a run that report_results writes


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    written = write_comparison(tmp_path_factory.mktemp("comparison"), SHAPE)
    build_comparison(comparison_of(SHAPE), written, SHA)
    return written


@pytest.fixture
def copy(layout, tmp_path):
    return Layout(shutil.copytree(layout.root, tmp_path / "copy"), 4)


def read_csv(path):
    with open(path, newline="") as stream:
        return {row["method"]: row for row in csv.DictReader(stream)}


def test_all_files_are_written_and_listed_in_the_manifest(layout):
    assert {path.name for path in layout.comparison.iterdir()} == FILES
    manifest = verify(layout.comparison)
    assert set(manifest["files"]) == FILES - {"manifest.json"}
    assert (manifest["stage"], manifest["config_sha256"], manifest["seeds"]) == ("comparison", SHA, [0, 1, 4])
    for path in layout.comparison.glob("*.svg"):
        assert ET.parse(path).getroot().tag.endswith("svg")
        assert 'href="http' not in path.read_text()


def test_building_again_gives_the_same_bytes(layout):
    before = {path.name: path.read_bytes() for path in layout.comparison.iterdir()}
    build_comparison(comparison_of(SHAPE), layout, SHA)
    assert {path.name: path.read_bytes() for path in layout.comparison.iterdir()} == before


def test_the_table_has_the_layout_of_the_papers(layout):
    lines = (layout.comparison / "table.md").read_text().splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("| method | 7"))
    cells = [cell.strip() for cell in lines[header].strip("|").split("|")]
    assert cells == ["method", "7", "8-9", "10", "11-12", "13", "14-15", "16", "17-18", "average", "minus GRPO"]
    rows = [line.strip("| ").split(" | ") for line in lines[header + 2 : header + 15]]
    assert [row[0] for row in rows] == [
        *("base", "luffy", "GRPO", "exgrpo", "rlep", "resample", "npo_early", "npo_late", "npo", "npo_rolling"),
        *("autonpo", "autonpo_online", "grpo_long"),
    ]
    assert rows[2][-1] == "-"


def test_scores_are_those_of_the_evaluations(layout):
    rows = read_csv(layout.comparison / "table.csv")
    for name, policy in (("npo", "npo"), ("GRPO", "probe"), ("base", "initial")):
        counts = [json.loads(replace(layout, seed=seed).evaluation(policy).read_text())["correct"] for seed in SHAPE.seeds]
        means = [fmean(found.values()) / 4 for found in counts]
        assert float(rows[name]["mean@4 average"]) == pytest.approx(fmean(means), abs=1e-6)
        hard = [value for found in counts for key, value in found.items() if int(key.split("-")[1]) % 12 in (10, 11)]
        assert float(rows[name]["mean@4 17-18"]) == pytest.approx(fmean(hard) / 4, abs=1e-6)
    gain = float(rows["npo"]["mean@4 minus GRPO"])
    assert gain == pytest.approx(float(rows["npo"]["mean@4 average"]) - float(rows["GRPO"]["mean@4 average"]), abs=2e-6)
    assert float(rows["npo"]["mean@4 minus GRPO low"]) < gain < float(rows["npo"]["mean@4 minus GRPO high"])
    assert float(rows["npo"]["mean@4 minus GRPO, sign-flip p"]) in (2 / 8, 4 / 8, 6 / 8, 1.0)
    assert rows["GRPO"]["mean@4 minus GRPO"] == ""


def test_compute_is_what_a_person_starting_from_nothing_pays(layout):
    rows = read_csv(layout.comparison / "table.csv")
    total = {name: row["all sampled tokens"] for name, row in rows.items()}
    assert float(total["GRPO"]) == float(total["exgrpo"]) == float(total["resample"]) == OWN
    assert float(total["npo"]) == float(total["autonpo_online"]) == 2 * OWN + GUIDE_TOKENS
    assert float(total["luffy"]) == OWN + DEMONSTRATION_TOKENS
    assert float(total["rlep"]) == 2 * OWN + DEMONSTRATION_TOKENS
    assert float(rows["npo"]["all sampled tokens over GRPO"]) == pytest.approx(2 + GUIDE_TOKENS / OWN, abs=1e-6)
    assert float(rows["npo"]["all seconds"]) == 2 * 24 * 2.5 + 45.5
    assert float(rows["luffy"]["all seconds"]) == 24 * 2.5 + 6.5
    assert rows["rlep"]["all seconds"] == ""  # no benchmark says what its demonstrations took
    assert float(rows["grpo_long"]["training steps"]) == 48
    assert float(rows["base"]["all sampled tokens"]) == 0


def test_every_seed_has_a_row_of_its_own(layout):
    with open(layout.comparison / "seeds.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * 13
    own = [float(row["mean@4"]) for row in rows if row["method"] == "npo"]
    assert fmean(own) == pytest.approx(float(read_csv(layout.comparison / "table.csv")["npo"]["mean@4 average"]), abs=2e-6)


def test_one_seed_says_so_and_has_no_interval_over_seeds(layout, copy):
    stage = replace(comparison_of(SHAPE), seeds=[1], methods=["npo", "autonpo"])
    build_comparison(stage, copy, SHA)
    row = read_csv(copy.comparison / "table.csv")["npo"]
    empty = ("mean@4 minus GRPO, seeds only, low", "mean@4 minus GRPO, sign-flip p", "speed-up low", "speed-up high")
    assert [row[name] for name in empty] == ["", "", "", ""]
    assert float(row["mean@4 average low"]) < float(row["mean@4 average high"])
    page = (copy.comparison / "table.md").read_text()
    assert "One training seed" in page
    assert "no interval over seeds and no p-value" in page
    assert json.loads((copy.comparison / "findings.json").read_text())["npo_over_resample"]["answer"] == "not run"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "shape",
    [
        Shape(seeds=(0,), methods=("npo",), steps=1, problems=1, samples=1, difficulties=("all",)),
        Shape(
            seeds=(0, 1), methods=("m$_{", "b", "c", "d", "e"), steps=3, problems=4, samples=1, difficulties=("x|y", "z"), with_tokens=False
        ),
    ],
    ids=["one of everything", "unknown methods without token counts"],
)
def test_extreme_shapes_are_drawn_without_a_warning(tmp_path, shape):
    layout = write_comparison(tmp_path, shape)
    build_comparison(comparison_of(shape, 100), layout, SHA)
    assert {path.name for path in layout.comparison.iterdir()} == FILES
    assert ("x\\|y" in (layout.comparison / "table.md").read_text()) is (len(shape.difficulties) > 1)


def test_the_stage_runs_from_its_configuration_and_skips_names_of_grpo(copy):
    stage = vars(comparison_of(SHAPE)) | {"methods": ["grpo", "npo", "npo"]}
    path = copy.root / "config" / "comparison.yaml"
    path.write_text(yaml.safe_dump(stage))
    config, digest = load_stage(path, ComparisonStage)
    run(Context(config, digest, Layout(copy.root), None))
    assert list(read_csv(copy.comparison / "table.csv")) == ["base", "GRPO", "npo"]


MISSING = (
    "seed-4/npo/metrics.jsonl",
    "seed-4/probe/metrics.jsonl",
    "seed-4/evaluation/luffy.json",
    "seed-4/evaluation/initial.json",
    "seed-4/guide/manifest.json",
    "seed-4/guide/step-000002/manifest.json",
    "seed-4/rlep/demonstrations/manifest.json",
    "seed-4/guide/step-000001/trajectories-00000-of-00001.parquet",
    "prepare/problems.parquet",
)


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_file_is_named_with_its_fix_and_the_last_comparison_stays(copy, name):
    (copy.root / name).unlink()
    with pytest.raises(ArtifactError, match=r"(?i)(run|delete|finished)") as caught:
        build_comparison(comparison_of(SHAPE), copy, SHA)
    assert name in str(caught.value)
    assert verify(copy.comparison)


def test_evaluations_of_another_kind_are_refused(copy):
    path = copy.evaluation("npo")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"samples": 2}))
    with pytest.raises(ArtifactError, match=r"seed-4/evaluation/npo\.json: samples"):
        build_comparison(comparison_of(SHAPE), copy, SHA)


def test_unused_guides_need_not_exist(copy):
    shutil.rmtree(copy.guide)
    build_comparison(replace(comparison_of(SHAPE), methods=["luffy", "grpo_long"]), copy, SHA)
    assert list(read_csv(copy.comparison / "table.csv")) == ["base", "luffy", "GRPO", "grpo_long"]


def set_reward(layout, name, level):
    """Rewards of a run that goes straight up from 0 and stands at its level from the given step on."""
    for seed in SHAPE.seeds:
        path = replace(layout, seed=seed).run(name) / "metrics.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row | {"reward/mean": level(row["step"])}) + "\n" for row in rows))


def answers(layout, methods):
    comparison = load_comparison(replace(comparison_of(SHAPE), methods=methods), layout)
    return findings(comparison, summarise_comparison(comparison))


def test_speed_is_found_and_half_of_the_steps_is_the_mark(copy):
    set_reward(copy, "probe", lambda step: step / 23)
    set_reward(copy, "npo", lambda step: 4 * step / 23)
    set_reward(copy, "autonpo", lambda step: 0.5 * step / 23)
    assert answers(copy, ["npo", "autonpo"])["speed"]["answer"] == "open"  # held-out scores do not carry it
    set_correct(copy, "probe", 0)
    found = answers(copy, ["npo", "autonpo"])["speed"]
    assert (found["answer"], found["method"], found["grpo_steps"]) == ("yes", "npo", 23)
    assert found["speed_up_smoothed_further"] > 2.0
    assert found["speed_up"] == pytest.approx(23 / found["steps"])
    assert found["reached"] == {"npo": "3/3", "autonpo": "0/3"}
    assert found["interval"]["low"] == found["interval"]["high"] == pytest.approx(found["speed_up"])
    set_reward(copy, "npo", lambda step: 1.2 * step / 23)
    assert answers(copy, ["npo", "autonpo"])["speed"]["answer"] == "no"
    set_reward(copy, "npo", lambda step: 1.2 if step >= 7 else 0.0)
    hangs = answers(copy, ["npo"])["speed"]
    assert (hangs["answer"], hangs["speed_up"] > 2.0, hangs["speed_up_smoothed_further"] < 2.0) == ("open", True, True)
    never = answers(copy, ["autonpo"])["speed"]
    assert never["answer"] == "no"
    assert "none of autonpo" in never["sentence"]


def set_correct(layout, name, correct, seeds=SHAPE.seeds):
    for seed in seeds:
        path = replace(layout, seed=seed).evaluation(name)
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"correct": dict.fromkeys(content["correct"], correct)}))


def test_quality_and_equal_compute_are_answered_from_the_differences(copy):
    for name, correct in (("probe", 1), ("npo", 2), ("autonpo", 3), ("grpo_long", 3), ("resample", 2)):
        set_correct(copy, name, correct)
    found = answers(copy, ["npo", "autonpo", "grpo_long", "resample"])
    quality = found["quality"]
    assert (quality["answer"], quality["best_manual"], quality["minus_grpo"]["value"]) == ("yes", "npo", 0.5)
    assert quality["minus_grpo"]["p"] == 2 / 8
    assert found["equal_compute"]["autonpo"]["answer"] == "open"
    assert found["equal_compute"]["npo"]["answer"] == "no"
    assert found["npo_over_resample"]["answer"] == "open"
    assert found["npo_over_resample"]["tokens"] == {"npo": 2 * OWN + GUIDE_TOKENS, "resample": OWN}
    set_correct(copy, "npo", 4)
    worse = answers(copy, ["npo", "autonpo", "grpo_long"])
    assert (worse["quality"]["answer"], worse["quality"]["not_below_best_manual"]) == ("no", False)
    assert worse["equal_compute"]["npo"]["answer"] == "yes"


def test_seeds_of_several_initial_policies_are_compared_over_these(copy):
    """Seeds 0 and 4 start from policy 0, seed 1 from policy 1."""
    shutil.copytree(copy.prepare, copy.root / "prepare-1")
    (copy.prepare / "problems.parquet").rename(copy.root / "kept")
    stage, layout = replace(comparison_of(SHAPE), cold_starts=2, seeds=[1]), replace(copy, cold_starts=2)
    build_comparison(stage, layout, SHA)  # reads what its own seed started from
    (copy.root / "kept").rename(copy.prepare / "problems.parquet")
    for policy, correct_S in (("probe", (1, 1, 1)), ("npo", (1, 4, 3))):
        for seed, correct in zip(SHAPE.seeds, correct_S, strict=True):
            set_correct(copy, policy, correct, (seed,))
    build_comparison(replace(stage, seeds=list(SHAPE.seeds)), layout, SHA)
    row = read_csv(copy.comparison / "table.csv")["npo"]
    assert float(row["mean@4 minus GRPO"]) == pytest.approx((0.25 + 0.75) / 2)  # each initial policy counts alike
    assert float(row["mean@4 minus GRPO, sign-flip p"]) == 2 / 4
    assert float(row["mean@4 minus GRPO, SD between seeds"]) == pytest.approx(0.5 / 2**0.5, abs=1e-6)
    with open(copy.comparison / "seeds.csv", newline="") as stream:
        assert [line["cold start"] for line in csv.DictReader(stream) if line["method"] == "npo"] == ["0", "1", "0"]
    page = (copy.comparison / "table.md").read_text()
    assert "## Where scores differ from: standard deviations" in page
    assert "The seeds start from 2 initial policies" in page


def test_one_initial_policy_for_all_seeds_is_said(layout):
    page = (layout.comparison / "table.md").read_text()
    assert "All seeds start from one initial policy" in page
    assert "standard deviations" not in page
