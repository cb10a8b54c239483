"""What fits are made from: counts on a grid (`ScoreHistogram`) and exact cuts (`ThresholdCurves`).

`Evidence` hands both to calibrators and rules, each built only when somebody asks.
"""

from calibrate.statistics.curves import (
    ThresholdCurves,
    curves_of_lines,
    threshold_curves,
)
from calibrate.statistics.evidence import Evidence
from calibrate.statistics.histogram import Grid, ScoreHistogram
from calibrate.statistics.pooled import midway, pooled_curves

__all__ = [
    "Evidence",
    "Grid",
    "ScoreHistogram",
    "ThresholdCurves",
    "curves_of_lines",
    "midway",
    "pooled_curves",
    "threshold_curves",
]
