"""Probabilities of labels from a softmax that was trained on several labels a row."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibrate.base import Calibrator, Fitted, require_positives
from calibrate.data import as_logits
from calibrate.data.logits import NanPolicy
from calibrate.hierarchy import LayersReport, fit_softmax_layers
from calibrate.ops import RowAffine
from calibrate.statistics import Evidence


class SoftmaxInclusion(Calibrator):
    """Probabilities of labels from the logits of a softmax, trained with targets ``1 / |Y|``.

    Logits are the input of the softmax, or the logarithms of its outputs; not the outputs. Such a
    network learns ``s_c = P(c) E[1 / |Y| given c]``, about ``P(c) / K`` where the row has `K`
    labels: the threshold on ``s`` that belongs to a probability `t` is ``t / K`` and varies from
    row to row. The softmax itself cannot tell `K`: it always adds up to 1. What helps is found
    from the labels: ``b + a log s + h log max s``, a coefficient for ``log sum exp`` of the logits,
    and for the logarithm of the row's sum of probabilities, each kept only where it lowers the log
    loss of rows it has not seen. Then come the layers per class, and the curve, of
    `HierarchicalScaling`. Any rule may follow.

    Who has a model for the number of labels of a row gives it with `with_counts`.

    Parameters
    ----------
    row_layer : {"auto", True, False}
        False leaves all numbers of the row out but the norm of the softmax, and with them what
        `with_counts` put in; True keeps the last of them whatever it gains.

    Attributes
    ----------
    report_ : LayersReport
        What each number of the row gains, how much the classes differ, and how far each is drawn
        to the others.

    Notes
    -----
    Dividing ``s`` by the row's highest, so that one threshold serves all rows, takes it for granted
    that the highest tells how many labels there are. Mostly it tells how sure the network is: on
    four of five real networks one threshold on the quotient was worse than one on ``s`` itself
    (``tests/benchmarks/softmax.py``). Here the labels say how far to follow it.

    Raises
    ------
    ValueError
        On fit, if no class has a positive, or the outputs of the softmax were given as
        probabilities: these are taken for those of single labels.
    TypeError
        On fit, if there is only a histogram: the norm of the softmax needs rows.

    References
    ----------
    Mahajan et al. (2018), Exploring the limits of weakly supervised pretraining, section 2.2, for
    the targets; Menon, Rawat, Reddi and Kumar (2019), Multilabel reductions: what is my loss
    optimising?, section 4, for what such a loss is least at.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(-1.5, 1.5, size=(2000, 30)) + rng.normal(0, 1, size=(2000, 1))
    >>> p = 1 / (1 + np.exp(-truth))
    >>> labels = rng.random(p.shape) < p
    >>> softmax = np.log(p / p.sum(axis=1, keepdims=True))
    >>> with_head = SoftmaxInclusion.with_counts(softmax, p.sum(axis=1))
    >>> mean = SoftmaxInclusion().fit(with_head, labels).transform(with_head)
    >>> bool(abs(1 / (1 + np.exp(-mean)) - p).mean() < 0.03)
    True
    """

    report_: LayersReport

    def __init__(self, row_layer: Literal["auto"] | bool = "auto") -> None:
        self.row_layer = row_layer

    @staticmethod
    def with_counts(logits: Any, counts: Any, *, nan: NanPolicy = "raise") -> NDArray[np.float32]:
        """Logits of a softmax that carry how many labels each row is expected to have.

        The result is ``log s + log counts``; it goes where the logits go, to fit and to predict.

        Parameters
        ----------
        logits : array, tensor, path, ...
            Of the softmax, up to a number for each row, shape (n_rows, n_classes).
        counts : array of float, (n_rows,)
            Expected labels of each row, positive, from a model of their own.
        nan : {"raise", "negative"}
            The same is needed wherever the result goes: a cell without a score is ``-inf`` in it.

        Returns
        -------
        float32, (n_rows, n_classes)

        Raises
        ------
        ValueError
            If there are not as many counts as rows, one is not positive and finite, or a logit is
            refused.
        """
        source = as_logits(logits, nan=nan)
        counts = np.asarray(counts, dtype=np.float64)
        if counts.shape != (source.shape[0],):
            raise ValueError(
                f"counts must be one for each of the {source.shape[0]} rows, got shape "
                f"{counts.shape}"
            )
        wrong = ~(np.isfinite(counts) & (counts > 0))
        if wrong.any():
            raise ValueError(
                f"counts must be positive and finite, got {counts[wrong][0]:g} at row "
                f"{int(np.argmax(wrong))}"
            )
        norm = RowAffine(np.array(1.0, np.float32), np.array(0.0, np.float32), by_log_sum=-1.0)
        carrying = np.empty(source.shape, dtype=np.float32)
        for start, block in source.blocks():
            rows = slice(start, start + len(block))
            carrying[rows] = norm.apply(block) + np.log(counts[rows, None]).astype(np.float32)
        return carrying

    def _fit(self, evidence: Evidence) -> Fitted:
        if self.row_layer not in ("auto", True, False):
            raise ValueError(f"row_layer must be 'auto', True or False, got {self.row_layer!r}")
        if evidence.from_probabilities:
            raise ValueError(
                "the outputs of a softmax must be given as their logarithms, in the place of "
                "logits, got probabilities, which are taken for those of single labels"
            )
        require_positives(evidence)
        row_layer = None if self.row_layer == "auto" else bool(self.row_layer)
        return fit_softmax_layers(evidence, row_layer=row_layer)
