"""How figures look, and how they become SVG: the same input always gives the same bytes.

Colours are Okabe and Ito's, which stay apart under the common kinds of colour blindness; steps take a stretch of viridis.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from npo_pipeline.analysis.results import GRPO, Results

WIDTH = 11.0  # inches: 1056 CSS pixels, which a page of 1100 shows unscaled
INK, FAINT, GRID = "#1f2933", "#8a94a0", "#e3e7ec"
BASELINE, INITIAL = "#4a5563", "#a3acb7"
METHODS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C6D31")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
LABEL_LENGTH = 24

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "svg.fonttype": "path",  # looks the same whatever fonts the reader has
    "svg.hashsalt": "npo-pipeline",
}


@dataclass(frozen=True)
class Drawing:
    """A figure of the report: `name`.svg, what it shows (for those who do not see it), and how to read it."""

    name: str
    title: str
    svg: bytes
    alt: str
    how_to_read: str


@contextmanager
def house_style() -> Iterator[None]:
    with matplotlib.rc_context(RC):
        yield


def new_figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), layout="constrained")


def to_svg(figure: Figure) -> bytes:
    """Deterministic SVG: fixed ids, no date."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def colours(results: Results) -> Mapping[str, str]:
    """The colour of each policy, the same in all figures."""
    return {"initial": INITIAL, GRPO: BASELINE} | {name: METHODS[i % len(METHODS)] for i, name in enumerate(results.methods)}


def step_colours(steps: Sequence[int]) -> dict[int, Any]:
    """Dark to light over ascending steps; the ends are left out, since yellow vanishes on white."""
    palette = matplotlib.colormaps["viridis"]
    ordered = sorted(set(steps))
    return {step: palette(0.08 + 0.78 * i / max(1, len(ordered) - 1)) for i, step in enumerate(ordered)}


def plain(text: str) -> str:
    """Text as matplotlib should draw it: a `$` from a dataset is no formula, and a label stays short."""
    short = text if len(text) <= LABEL_LENGTH else text[: LABEL_LENGTH - 3] + "..."
    return short.replace("$", r"\$")
