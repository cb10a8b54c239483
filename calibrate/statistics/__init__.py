"""What fits are made from: counts on a grid (`ScoreHistogram`) and exact cuts (`ThresholdCurves`).

`Evidence` hands both to calibrators and rules, each built only when somebody asks.
"""

from calibrate.statistics.bounded_mean import (
    binomial_p_values,
    hoeffding_bentkus_p_values,
    hoeffding_p_values,
)
from calibrate.statistics.curves import (
    BestCuts,
    ThresholdCurves,
    curves_at_bins,
    curves_of_lines,
    threshold_curves,
)
from calibrate.statistics.evidence import Evidence, RowsNeededError
from calibrate.statistics.expected import (
    ExpectedCuts,
    best_expected_cuts,
    best_expected_pooled_cut,
)
from calibrate.statistics.histogram import Grid, ScoreHistogram
from calibrate.statistics.hulls import HullSteps
from calibrate.statistics.instances import best_instance_cut, instance_values
from calibrate.statistics.pooled import (
    best_pooled_cut,
    midway,
    pooled_curves,
    pooled_cut_at_count,
)
from calibrate.statistics.positives import positive_scores_by_class
from calibrate.statistics.risk_curves import RiskCurve, lattice, risk_curve
from calibrate.statistics.shrunk import ShrunkThresholds, shrunk_thresholds, sweep_variance
from calibrate.statistics.streamed import StreamedTables
from calibrate.statistics.sweep import best_cuts
from calibrate.statistics.ties import TiedScores, pooled_ties

__all__ = [
    "BestCuts",
    "Evidence",
    "ExpectedCuts",
    "Grid",
    "HullSteps",
    "RiskCurve",
    "RowsNeededError",
    "ScoreHistogram",
    "ShrunkThresholds",
    "StreamedTables",
    "ThresholdCurves",
    "TiedScores",
    "best_cuts",
    "best_expected_cuts",
    "best_expected_pooled_cut",
    "best_instance_cut",
    "best_pooled_cut",
    "binomial_p_values",
    "curves_at_bins",
    "curves_of_lines",
    "hoeffding_bentkus_p_values",
    "hoeffding_p_values",
    "instance_values",
    "lattice",
    "midway",
    "pooled_curves",
    "pooled_cut_at_count",
    "pooled_ties",
    "positive_scores_by_class",
    "risk_curve",
    "shrunk_thresholds",
    "sweep_variance",
    "threshold_curves",
]
