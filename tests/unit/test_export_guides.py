"""`npo export-guides`: what other people read needs none of our code, holds every row, and says whose it is."""

from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from guide_results import guide_trajectory, problems_for, with_images, write_guides
from tiny import tiny_policy
from vision import drawn

from npo_pipeline.cli.main import main
from npo_pipeline.errors import ArtifactError, ConfigError
from npo_pipeline.integrations.export import export_guides
from npo_pipeline.storage.guides import read_shards
from npo_pipeline.storage.images import load_image
from npo_pipeline.storage.layout import Layout


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Six problems; guide step 4 solves two of them at its second try, step 8 the first at once."""
    policy = tiny_policy()
    problems = problems_for(policy)
    made = {
        4: [guide_trajectory(policy, p, i, i == 1) for p in problems[:2] for i in range(2)]
        + [guide_trajectory(policy, problems[2], 0, False)],
        8: [guide_trajectory(policy, problems[0], 0, True)],
    }
    return write_guides(tmp_path_factory.mktemp("results") / "mine", problems, made)


def read(folder: Path, cache: Path, name: str | None = None) -> datasets.Dataset:
    return datasets.load_dataset(str(folder), name, split="train", cache_dir=str(cache))


def test_every_row_is_there_as_it_was(layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["export-guides", str(layout.guide), str(tmp_path / "out")])
    assert "6 trajectories" in capsys.readouterr().out
    rows = read(tmp_path / "out", tmp_path / "cache")
    kept = [(step, t, sha) for step in (4, 8) for t, sha in read_shards(layout.guide_step(step))]
    assert len(rows) == len(kept) == 6
    for row, (step, trajectory, prompt_sha256) in zip(rows, kept, strict=True):
        assert (row["guide_step"], row["problem_id"], row["sample_index"]) == (step, trajectory.problem_id, trajectory.sample_index)
        assert tuple(row["prompt_token_ids"]) == trajectory.prompt_token_ids
        assert tuple(row["response_token_ids"]) == trajectory.response_token_ids
        assert tuple(row["guide_logprobs"]) == trajectory.behaviour_logprobs
        assert (row["reward"], row["verified"], row["response"]) == (trajectory.reward, trajectory.verified, trajectory.response_text)
        assert (row["prompt_sha256"], row["policy_sha256"]) == (prompt_sha256, f"{step:064x}")
        assert row["prompt"] == row["question"]
        assert row["answer"] == "3"
    signal = read(tmp_path / "out", tmp_path / "cache", "signal")
    assert [(row["guide_step"], row["q"], row["v"]) for row in signal] == [(4, 0.75, 1.25), (8, 0.75, 1.25)]


def test_the_card_says_whose_they_are(layout: Layout, tmp_path: Path) -> None:
    export_guides(layout.guide, tmp_path / "out")
    _, head, text = (tmp_path / "out/README.md").read_text().split("---\n", 2)
    header = yaml.safe_load(head)
    assert header["npo"] | {"code_version": ""} == {
        "run": "mine",
        "seed": 0,
        "round": "round-1",
        "guide_steps": [4, 8],
        "lookback": 100,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "max_new_tokens": 24,
        "probe_sha256": "f" * 64,
        "code_version": "",
    }
    assert "license" not in header
    assert "| 4 | 6 | 2 | 5 | 2 | 000000000000 |" in text
    assert "| 8 | 0 | 8 | 0.750 | 1.250 | 0.580 | 4 | 2 |" in text
    for said in ("kind: exact", "extract: whole", "name: number_sorting", "exp_kl", "f" * 64):
        assert said in text
    for column in read(tmp_path / "out", tmp_path / "cache").column_names:
        assert f"`{column}`" in text


def test_folders_of_the_same_name_are_told_apart(layout: Layout, tmp_path: Path) -> None:
    """`datasets` takes what it has read once for what lies there now, as long as the card says the same."""
    for parent, steps in (("a", [4]), ("b", [8])):
        export_guides(layout.guide, tmp_path / parent / "guides", steps)
    assert [set(read(tmp_path / parent / "guides", tmp_path / "cache")["guide_step"]) for parent in "ab"] == [{4}, {8}]


def test_one_step_alone(layout: Layout, tmp_path: Path) -> None:
    export_guides(layout.guide_step(8), tmp_path / "folder")
    export_guides(layout.guide, tmp_path / "option", [8])
    assert (tmp_path / "folder/README.md").read_text() == (tmp_path / "option/README.md").read_text()
    assert set(read(tmp_path / "folder", tmp_path / "cache")["guide_step"]) == {8}


def test_images_travel_inside(tmp_path: Path) -> None:
    policy = tiny_policy()
    layout = Layout(tmp_path / "seen")
    layout.prepare.mkdir(parents=True)
    shown = [drawn(layout.prepare, i) for i in range(2)]
    problems = [with_images(p, shown[:i]) for i, p in enumerate(problems_for(policy, 3))]
    write_guides(layout.root, problems, {4: [guide_trajectory(policy, p, 0, True) for p in problems]})
    export_guides(layout.guide, tmp_path / "out")
    rows = read(tmp_path / "out", tmp_path / "cache")
    assert [len(row["images"]) for row in rows] == [0, 1, 2]
    for image, found in zip(shown, rows[2]["images"], strict=True):
        assert np.array_equal(np.asarray(found), np.asarray(load_image(image)))


def test_what_is_wrong_is_said_before_anything_is_written(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="there: exists already, and nothing is overwritten"):
        export_guides(layout.guide, tmp_path / "there")
    with pytest.raises(ConfigError, match=r"guide: has no guide checkpoint 5; there are 4, 8"):
        export_guides(layout.guide, tmp_path / "out", [4, 5])
    with pytest.raises(ConfigError, match=r"guide: has no guide checkpoint step-000005; there are 4, 8"):
        export_guides(layout.guide_step(5), tmp_path / "out")
    with pytest.raises(ArtifactError, match=r"seed-0: no folder of guides, expected one like results/NAME/seed-0/guide"):
        export_guides(layout.seed_folder, tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["there"]


def test_a_configuration_of_another_run_is_refused(tmp_path: Path) -> None:
    policy = tiny_policy()
    problems = problems_for(policy, 1)
    layout = write_guides(tmp_path / "mine", problems, {4: [guide_trajectory(policy, problems[0], 0, True)]})
    config = layout.root / "config/guide.yaml"
    config.write_text(config.read_text().replace("samples: 16", "samples: 17") + "# edited\n")
    with pytest.raises(ArtifactError, match=r"config/guide.yaml: not the configuration that .*mine was made with. Run snakemake again"):
        export_guides(layout.guide, tmp_path / "out")


@pytest.mark.parametrize(
    ("repository", "line"),
    [
        ("guides", "--push guides: names no owner; expected OWNER/NAME"),
        ("a b/c", "--push 'a b/c': no name of a repository"),
        ("me/guides", "--push me/guides: HF_HUB_OFFLINE is set"),
    ],
)
def test_where_it_cannot_be_pushed(repository: str, line: str, layout: Layout, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SystemExit) as stopped:
        main(["export-guides", str(layout.guide), str(tmp_path / "out"), "--push", repository])
    assert stopped.value.code == 78
    assert capsys.readouterr().err.startswith(f"error: {line}")
    assert not (tmp_path / "out").exists()
