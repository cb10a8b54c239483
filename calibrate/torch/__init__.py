"""The room for torch: fits inside a training loop, on whatever device the logits are.

``HistogramAccumulator`` counts batches of validation logits; ``best_cuts`` sweeps every class
exactly where the logits lie.
"""

from calibrate.torch.accumulator import HistogramAccumulator
from calibrate.torch.sweep import best_cuts

__all__ = ["HistogramAccumulator", "best_cuts"]
