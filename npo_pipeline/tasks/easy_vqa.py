"""easy-vqa: questions about images of one coloured shape each, from the PyPI package of that name (Victor Zhou, MIT).

Three kinds of question, as many of each: which shape, which colour, and is something there. Evaluation takes the package's own test
images. The package says nowhere what an image shows, but the answers to the questions about it do: demonstrations of the cold start
spell that out first, as a short chain: "circle, red #### yes".
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from npo_pipeline.configuration.settings import TaskConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.tasks.judging.extract import demonstrate
from npo_pipeline.tasks.raw import RawProblem, SourceImage

PACKAGE = "easy_vqa"
SHAPES = ("circle", "rectangle", "triangle")
KINDS = ("color", "presence", "shape")


class Question(NamedTuple):
    text: str
    answer: str
    image: int

    @property
    def kind(self) -> str:
        """The problem's difficulty label."""
        return "presence" if self.answer in ("yes", "no") else "shape" if self.answer in SHAPES else "color"


def find_package() -> Path:
    """The folder of the package's data, found without importing it. Raises ConfigError."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("task.source=easy_vqa: the package easy-vqa is not installed; install it: pip install easy-vqa==1.0")
    return Path(spec.submodule_search_locations[0]) / "data"


def load_problems(task: TaskConfig) -> tuple[list[RawProblem], list[RawProblem]]:
    """Train and eval problems, as many of each kind, chosen by `task.seed`."""
    return _problems(task, "train", "train", task.train_size), _problems(task, "test", "eval", task.eval_size)


def load_cold_start(task: TaskConfig, count: int) -> list[RawProblem]:
    """`count` demonstrations about training images; their questions are drawn by a seed of their own and may repeat."""
    questions = _questions("train")
    seen = what_images_show(questions)
    chosen = _chosen([q for q in questions if q.image in seen], count, f"{task.seed}/cold")
    found = []
    for i in range(count):
        question = chosen[i % len(chosen)]
        chain = f"{', '.join(seen[question.image])} {demonstrate(question.answer, task.verifier.extract)}"
        found.append(_problem(question._replace(answer=chain), question.kind, "train", "cold", i))
    return found


def what_images_show(questions: Iterable[Question]) -> dict[int, tuple[str, str]]:
    """Shape and colour of each image whose questions tell both. Example: "what color is the circle?", "red" -> ("circle", "red")."""
    told: dict[int, dict[str, str]] = defaultdict(dict)
    for question in questions:
        if question.kind != "presence":
            told[question.image][question.kind] = question.answer
        # A question that asks for one may name the other: "the circle", or "the red shape".
        named = question.text.rstrip("?").split()
        if question.kind == "color" and named[-1] in SHAPES:
            told[question.image]["shape"] = named[-1]
        if question.kind == "shape" and named[:3] == ["what", "is", "the"]:
            told[question.image]["color"] = named[3]
    return {image: (known["shape"], known["color"]) for image, known in told.items() if len(known) == 2}


def _problems(task: TaskConfig, part: str, split: str, size: int | None) -> list[RawProblem]:
    questions = list(dict.fromkeys(_questions(part)))
    chosen = _chosen(questions, size or len(questions), f"{task.seed}/{split}")
    return [_problem(question, question.kind, part, split, i) for i, question in enumerate(chosen)]


def _chosen(questions: Sequence[Question], size: int, seed: str) -> list[Question]:
    """Up to `size` of them, a third of each kind, in an order of their own."""
    generator = random.Random(seed)
    chosen: list[Question] = []
    for left, kind in zip((3, 2, 1), KINDS, strict=True):
        known = [question for question in questions if question.kind == kind]
        chosen += generator.sample(known, min(len(known), (size - len(chosen)) // left))
    generator.shuffle(chosen)
    return chosen


def _problem(question: Question, kind: str, part: str, split: str, number: int) -> RawProblem:
    image = SourceImage.of(find_package() / part / "images" / f"{question.image}.png")
    return RawProblem(f"{split}-{number:06d}", split, question.text, question.answer, kind, {}, (image,))


def _questions(part: str) -> list[Question]:
    return [Question(*row) for row in json.loads((find_package() / part / "questions.json").read_text(encoding="utf-8"))]
