"""Class labels by their names: a table stores the index of a name, and `datasets` keeps the names beside it."""

from collections.abc import Iterable, Iterator
from typing import Any

from npo_pipeline.tasks.rows.cells import Unreadable


def with_names(rows: Iterable[dict[str, Any]], features: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The rows, with the name of each class label. Example: {"answer": 1}, whose names are no and yes -> {"answer": "yes"}."""
    labelled = {name: feature for name, feature in (features or {}).items() if _has_labels(feature)}
    for row in rows:
        yield {name: _named(value, labelled[name]) if name in labelled else value for name, value in row.items()}


def features_of(schema: Any) -> dict[str, Any] | None:
    """What `datasets` wrote about the columns of an Arrow schema; None where it did not, or in words of another release."""
    if b"huggingface" not in (schema.metadata or {}):
        return None
    import datasets

    try:
        return dict(datasets.Features.from_arrow_schema(schema))
    except Exception:  # whatever that JSON holds, the table is whole without it
        return None


def _has_labels(feature: Any) -> bool:
    import datasets

    return isinstance(feature, datasets.ClassLabel) or any(_has_labels(inner) for inner in _inner(feature))


def _inner(feature: Any) -> list[Any]:
    if isinstance(feature, (dict, list)):
        return list(feature.values() if isinstance(feature, dict) else feature)
    return [feature.feature] if hasattr(feature, "feature") else []


def _named(value: Any, feature: Any) -> Any:
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        return _label(value, feature.names) if isinstance(value, int) else value
    if isinstance(value, list) and (inner := _inner(feature)):
        return [_named(one, inner[0]) for one in value]
    if isinstance(value, dict) and isinstance(feature, dict):
        return {key: _named(one, feature.get(key)) for key, one in value.items()}
    return value


def _label(index: int, names: list[str]) -> str | Unreadable | None:
    """-1 is how `datasets` says that a row has no label."""
    if 0 <= index < len(names):
        return names[index]
    return None if index == -1 else Unreadable(f"the class label {index}, of which there are {len(names)}")
