"""How numbers are written in tables and sentences, and tables in Markdown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npo_pipeline.analysis.statistics import Interval  # numpy and scipy: a plan needs none of it

NOTHING = "-"


def score(value: float) -> str:
    return f"{value:.3f}"


def interval(found: "Interval") -> str:
    """Example: 0.463 [0.420, 0.505]."""
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def difference(found: "Interval | None") -> str:
    """With signs. Example: +0.041 [-0.004, +0.087]."""
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]" if found else NOTHING


def count(value: float | None) -> str:
    """A count that may be a mean over seeds. Examples: 1,204 and 60.5."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def duration(seconds: float | None) -> str:
    """Examples: 42 s, 3 min 20 s, 2 h 05 min."""
    if seconds is None:
        return NOTHING
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def hours(value: float | None) -> str:
    """Examples: 12.3, 0.0412."""
    return NOTHING if value is None else f"{value:.3g}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(map(markdown_text, row)) + " |" for row in (header, rule, *rows))


def markdown_text(text: str) -> str:
    """A label as one line that cannot break out of its table cell."""
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return " ".join(escaped.split())
