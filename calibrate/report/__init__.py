"""The threshold report: what was wrong, what was done, and what is still doubtful.

`compute` makes plain numbers, `text` and `html` write them down and compute nothing.
"""

from calibrate.report.compute import threshold_report
from calibrate.report.result import ThresholdReport

__all__ = ["ThresholdReport", "threshold_report"]
