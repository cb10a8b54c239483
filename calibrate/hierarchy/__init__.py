"""The layers of the default calibrator, each fitted on what the former leaves.

One map for all cells that knows the weights of the training (`pooled`), one number of each row
(`rows`), a line of its own for each class, drawn towards all the others (`classes`), and one bend
of the scale for all (`curve`). `layers` puts them together.
"""

from calibrate.hierarchy.layers import LayersReport, RowReport, fit_layers, fit_softmax_layers
from calibrate.hierarchy.pooled import log_weights
from calibrate.hierarchy.rows import fit_row_layer

__all__ = [
    "LayersReport",
    "RowReport",
    "fit_layers",
    "fit_row_layer",
    "fit_softmax_layers",
    "log_weights",
]
