"""The statistics page: a histogram and a few figures for every field, in one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from feature_store.batch_checks import DRIFT_ROWS
from feature_store.definitions import FeatureView, Field
from feature_store.offline.store import OfflineStore
from feature_store.statistics import Statistics


def render_statistics(offline: OfflineStore, views: Sequence[FeatureView]) -> str:
    """The page for some views; those without statistics are left out."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True)
    shown = [_view(view, found) for view in views if (found := offline.log(view).statistics)]
    template = environment.get_template("statistics.html")
    return template.render(title="Feature statistics", views=shown, least=f"{DRIFT_ROWS:,}")


def _view(view: FeatureView, found: dict[str, Statistics]) -> dict[str, Any]:
    held = "for ever" if view.ttl is None else f"for {view.ttl}"
    parts = [view.description, f"by {', '.join(view.keys)}", f"holds {held}"]
    parts += [f"from {view.source}"] if view.source else []
    parts += [f"owner {view.owner}"] if view.owner else []
    fields = [_field(field, found[field.name]) for field in view.fields if field.name in found]
    return {"label": view.label, "text": " · ".join(part for part in parts if part), "fields": fields}


def _field(field: Field, found: Statistics) -> dict[str, Any]:
    highest = max(found.histogram, default=0)
    kind = f"{field.dtype} × {field.shape[0]}" if field.shape else field.dtype
    figures = {"rows": f"{found.rows:,}", "missing": f"{found.nulls / found.rows:.1%}"}
    if found.distinct is not None:
        figures["distinct"] = f"{found.distinct:,}"
    for name in ("mean", "deviation", "low", "high"):
        value = getattr(found, name)
        if value is not None:
            figures[name] = f"{value:.4g}"
    if found.deciles:
        figures["median"] = f"{found.deciles[5]:.4g}"
    return {
        "name": field.name,
        "kind": kind,
        "description": field.description,
        "bars": [count / highest for count in found.histogram] if highest else [],
        "first": f"{found.edges[0]:.4g}" if found.edges else "",
        "last": f"{found.edges[-1]:.4g}" if found.edges else "",
        "figures": figures,
    }
