"""Images in the report: small copies in the page itself, bounded in size and number, and none that stops it."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from report_results import SHA, Shape, stage_of, write_results

from npo_pipeline.analysis.report import thumbnails
from npo_pipeline.analysis.report.build import build_report
from npo_pipeline.analysis.report.thumbnails import MOST_PER_SAMPLE, SIDE, Thumbnails
from npo_pipeline.records import Image
from npo_pipeline.storage.images import load_image, store_image
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.parquet import PROBLEMS, problem_row, read_problems, write_table

SHAPE = Shape(seeds=(0,), methods=("npo",), steps=2, problems=4, samples=1)


def drawn(folder: Path, number: int, width: int = 640, height: int = 400) -> Image:
    """Smooth, so that a copy can be held against it."""
    across, down = np.linspace(0, 255, width), np.linspace(0, 255, height)
    pixels = np.stack([np.tile(across, (height, 1)), np.tile(down[:, None], (1, width)), np.full((height, width), 40 * number)], axis=-1)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(stream, format="PNG")
    return store_image(stream.getvalue(), folder)


def opened(address: str) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/jpeg;base64,"))))


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A report whose first problem shows five images, the second a damaged one, the others none."""
    written = write_results(tmp_path_factory.mktemp("images"), SHAPE)
    first, second, *others = read_problems(written.problems)
    shown = [drawn(written.prepare, number) for number in range(5)]
    damaged = drawn(written.prepare, 9)
    damaged.file.write_bytes(damaged.file.read_bytes()[:-9])
    problems = [replace(first, images=tuple(shown)), replace(second, images=(damaged,)), *others]
    write_table(written.problems, [problem_row(problem) for problem in problems], PROBLEMS, SHA)
    build_report(stage_of(SHAPE), written, SHA)
    return written


def test_the_page_shows_small_copies_of_the_right_images(layout: Layout) -> None:
    page = layout.report.read_text()
    addresses = re.findall(r'<img src="(data:image/jpeg[^"]+)" alt="Image (\d) of the prompt, 640 x 400 pixels"', page)
    assert [int(number) for _, number in addresses] == [1, 2, 3, 4] * 3  # of each policy
    for (address, _), image in zip(addresses[:4], read_problems(layout.problems)[0].images[:4], strict=True):
        copy = opened(address)
        assert copy.size == (SIDE, SIDE * 400 // 640)
        expected = np.asarray(load_image(image).resize(copy.size, PIL.Image.Resampling.BOX), dtype=float)
        assert np.abs(np.asarray(copy, dtype=float) - expected).mean() < 4
    assert page.count("and 1 more") == 3
    assert page.count("an image that could not be read") == 3


def test_small_images_keep_their_size(tmp_path: Path) -> None:
    (found,) = Thumbnails().of([drawn(tmp_path, 1, 64, 48)])
    assert found.address is not None
    assert opened(found.address).size == (found.width, found.height) == (64, 48)


def test_a_page_of_many_images_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "MOST_PER_PAGE", 6)
    maker, images = Thumbnails(), [drawn(tmp_path, number, 300, 20) for number in range(5)]
    assert [len(maker.of(images)) for _ in range(3)] == [MOST_PER_SAMPLE, 2, 0]
