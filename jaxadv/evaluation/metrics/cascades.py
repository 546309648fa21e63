"""Attacks that take over what those before have left."""

from jaxadv.evaluation.metrics.base import Metric

CASCADES = Metric(
    "cascades",
    lambda table: table.metadata.get("cascades", {}),
    about="which attacks run one after another, and on what is left",
)
