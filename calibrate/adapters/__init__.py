"""One small file for each training framework; none of them is needed by anything else.

``calibrate.adapters.lightning``, ``calibrate.adapters.transformers``, ``calibrate.adapters.keras``.
Each feeds a `calibrate.torch.HistogramAccumulator` from the framework's own validation loop.
"""
