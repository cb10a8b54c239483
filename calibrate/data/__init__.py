"""The border: the only place that checks logits, labels and class names.

Behind it every block of logits is the library's own float32 copy, finite but for the cells that
carry no score (``-inf``), and labels are the rows of a CSR matrix.
"""

from calibrate.data.dataset import (
    Block,
    ClassStrip,
    LabelledLogits,
    Piece,
    labelled_logits,
    stepped,
    unlabelled,
)
from calibrate.data.labels import Labels, as_labels
from calibrate.data.logits import LogitSource, as_logits
from calibrate.data.names import as_class_names

__all__ = [
    "Block",
    "ClassStrip",
    "LabelledLogits",
    "Labels",
    "LogitSource",
    "Piece",
    "as_class_names",
    "as_labels",
    "as_logits",
    "labelled_logits",
    "stepped",
    "unlabelled",
]
