"""Exactly k labels for each row of a batch so that a macro metric is highest in expectation.

A macro metric couples all rows: what a label gains depends on how often its class is predicted
elsewhere. So the rows are decided together, one after the other given all others, until no row
would gain by other labels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.data import Block, LabelledLogits
from calibrate.kernels.ascent import ascend, row_keys, take_highest
from calibrate.kernels.probabilities import WHOLE, add_probabilities
from calibrate.kernels.rows import highest
from calibrate.metrics import ConstrainedMetric, Metric, RatioMetric, check_metric
from calibrate.ops import positive_integer, sigmoid
from calibrate.statistics.curves import judged

_CLEARLY = 1e-12
_FEW_POSITIVES = 1e-3
_LEAST_POSITIVES = 1e-6
_ROWS_AT_ONCE = 256


class Candidates(NamedTuple):
    """Classes that a row may get, as in CSR, the classes of a row sorted.

    Half of them are the likeliest of the row; the other half those that are most likelier here than
    elsewhere, the highest ``p / positives``, since a rare class gains by predictions of low
    probability.

    Attributes
    ----------
    indptr : int64, (n_rows + 1,)
    classes : int32
    probabilities : float32
    """

    indptr: NDArray[np.int64]
    classes: NDArray[np.int32]
    probabilities: NDArray[np.float32]

    @classmethod
    def of_rows(
        cls, data: LabelledLogits, n: int, k: int, positives: NDArray[np.float64]
    ) -> Candidates:
        """At most `n` cells of each row, of logits; cells without a score are none.

        Parameters
        ----------
        data : LabelledLogits
        n : int
        k : int
            At least so many are the likeliest.
        positives : float64, (n_classes,)
            Expected positives of all rows.
        """
        level = np.log(np.maximum(positives, _LEAST_POSITIVES)).astype(np.float32)

        def of_block(block: Block) -> Candidates:
            rows, classes, counts = _some(block.scores, block.scores - level, n, k)
            return cls(counts, classes, sigmoid(block.scores[rows, classes]))

        return cls.joined(list(data.each_block(of_block)))

    @classmethod
    def of_probabilities(
        cls, probabilities: NDArray[np.float32], n: int, k: int, positives: NDArray[np.float64]
    ) -> Candidates:
        """At most `n` cells of each row of a matrix, as in `of_rows`."""
        share = (1 / np.maximum(positives, _LEAST_POSITIVES)).astype(np.float32)

        def of_part(start: int) -> Candidates:
            part = probabilities[start : start + _ROWS_AT_ONCE]
            rows, classes, counts = _some(part, part * share, n, k)
            return cls(counts, classes, part[rows, classes])

        return cls.joined(threads.each(of_part, range(0, len(probabilities), _ROWS_AT_ONCE)))

    @classmethod
    def joined(cls, parts: list[Candidates]) -> Candidates:
        """Consecutive rows together; `indptr` of the parts are the numbers of candidates."""
        counts = np.concatenate([part.indptr for part in parts])
        return cls(
            np.concatenate([[0], np.cumsum(counts)]),
            np.concatenate([part.classes for part in parts]),
            np.concatenate([part.probabilities for part in parts]),
        )

    def in_order(self) -> NDArray[np.int64]:
        """The rows in an order that looks like chance, and is the same however they come."""
        keys = np.empty(len(self.indptr) - 1, dtype=np.uint64)
        row_keys(self.indptr, self.probabilities, keys)
        return np.argsort(keys, kind="stable")


def _some(
    scores: NDArray[np.float32], lifts: NDArray[np.float32], n: int, k: int
) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.int64]]:
    """Rows and classes of at most `n` cells of each row, and how many there are of each."""
    if n >= scores.shape[1]:
        chosen = scores > -np.inf
    else:
        chosen = np.zeros(scores.shape, dtype=np.bool_)
        n_likeliest = max(k, n - n // 2)
        for values, wanted in ((scores, n_likeliest), (lifts, n - n_likeliest)):
            counts, classes = _highest(values, wanted)
            chosen[np.repeat(np.arange(len(counts)), counts), classes] = True
    rows, found = np.nonzero(chosen)
    return rows, found.astype(np.int32), np.count_nonzero(chosen, axis=1).astype(np.int64)


def _highest(scores: NDArray[np.float32], n: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    k = np.full(len(scores), min(n, scores.shape[1]), dtype=np.int64)
    counts, classes = np.empty_like(k), np.empty(int(k.sum()), dtype=np.int32)
    found = highest(scores.view(np.int32), k, counts, classes)
    return counts, classes[:found]


class Ascent:
    """Labels of all rows, and what is expected of them, while they are made better.

    Attributes
    ----------
    chosen : bool
        The candidates that are labels; at first the `k` likeliest of each row.
    tp, predicted : float64, int64, (n_classes,)
        Expected true positives, and predictions, of each class.
    """

    def __init__(
        self, candidates: Candidates, positives: NDArray[np.float64], k: int, metric: Metric
    ) -> None:
        self.candidates, self.positives = candidates, positives
        self.k, self.metric = k, metric
        self.n_rows = len(candidates.indptr) - 1
        self.order = candidates.in_order()
        self.chosen = np.zeros(len(candidates.classes), dtype=np.bool_)
        self.tp = np.zeros(len(positives))
        self.predicted = np.zeros(len(positives), dtype=np.int64)
        room = np.empty(k, dtype=np.int64)
        for i in self.order.tolist():
            here = slice(candidates.indptr[i], candidates.indptr[i + 1])
            gains = candidates.probabilities[here].astype(np.float64)
            take_highest(gains, k, room, self.chosen[here])
            classes = candidates.classes[here][self.chosen[here]]
            self.tp[classes] += gains[self.chosen[here]]
            self.predicted[classes] += 1

    def run(self, max_passes: int, tolerance: float) -> None:
        """Passes over all rows until one raises the macro metric by no more than `tolerance`."""
        for _ in range(max_passes):
            if self.one_pass() <= tolerance * len(self.positives):
                break

    def one_pass(self) -> float:
        """Each row once; by how much the sum of the metric over the classes has risen."""
        if not isinstance(self.metric, RatioMetric):
            return sum(self._ascend(i) for i in self.order.tolist())
        return float(
            ascend(
                self.order, *self.candidates, self.k, np.array(self.metric.weights, np.float64),
                self.positives, self.chosen, self.tp, self.predicted,
            )
        )  # fmt: skip

    def _ascend(self, i: int) -> float:
        """`calibrate.kernels.ascent.ascend` of one row, for any metric."""
        here = slice(self.candidates.indptr[i], self.candidates.indptr[i + 1])
        classes = self.candidates.classes[here]
        p, chosen = self.candidates.probabilities[here].astype(np.float64), self.chosen[here]
        tp, predicted = self.tp[classes] - p * chosen, self.predicted[classes] - chosen
        gains = self.gains(classes, tp, predicted, p)
        best = np.sort(np.argsort(-gains, kind="stable")[: self.k])
        risen = float(gains[best].sum() - gains[chosen].sum())
        if not risen > _CLEARLY:
            return 0.0
        chosen[:] = False
        chosen[best] = True
        self.tp[classes], self.predicted[classes] = tp + p * chosen, predicted + chosen
        return risen

    def gains(
        self,
        classes: NDArray[np.int32],
        tp: NDArray[np.float64],
        predicted: NDArray[np.int64],
        p: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """What one more prediction of probability `p` adds to the metric of some classes."""
        n = self.positives[classes]
        both = self._values(
            np.concatenate([tp + p, tp]), np.concatenate([predicted + 1, predicted]), np.tile(n, 2)
        )
        return both[: len(n)] - both[len(n) :]

    def _values(
        self, tp: NDArray[np.float64], predicted: NDArray[np.int64], n: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The metric at expected counts; nan is taken for 0."""
        if isinstance(self.metric, RatioMetric):
            a, b, c, d = self.metric.weights
            below = b * tp + c * predicted + d * n
            return np.divide(a * tp, below, out=np.zeros(len(tp)), where=below > 0)
        counts = tp, predicted - tp, n - tp, self.n_rows - predicted - n + tp
        # sums of rounded numbers may end a digit below 0
        values = judged(self.metric, [np.maximum(part, 0.0) for part in counts])
        values = np.where(np.isnan(values), 0.0, values)
        if not np.isfinite(values).all():
            raise ValueError(f"a metric must be finite here, got {values[~np.isfinite(values)][0]}")
        return values

    def line(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Slope and height, (n_classes,), of what one more prediction adds, over its probability.

        Of the metrics that are ratios with no true positives below, it is such a line; of others it
        is one that meets it at 0, and at 1 or as many positives as are left.
        """
        every = np.arange(len(self.tp), dtype=np.int32)
        far = np.ones(len(self.tp))
        if not isinstance(self.metric, RatioMetric):
            far = np.clip(self.positives - self.tp, _FEW_POSITIVES, 1.0)
        height = self.gains(every, self.tp, self.predicted, np.zeros(len(far)))
        slope = (self.gains(every, self.tp, self.predicted, far) - height) / far
        return np.maximum(slope, 0.0), height

    @property
    def value(self) -> float:
        """The expected macro metric: its mean over all classes."""
        return float(self._values(self.tp, self.predicted, self.positives).mean())


def check_macro_metric(metric: object) -> None:
    """Raise TypeError unless `metric` is a function of counts that is finite at all of them."""
    check_metric(metric)
    if isinstance(metric, ConstrainedMetric):
        raise TypeError(f"metric must have no bound, which no single label can keep, got {metric}")


def block_coordinate_ascent(
    probabilities: Any,
    k: int,
    metric: Metric,
    *,
    n_candidates: int = 400,
    max_passes: int = 20,
    tolerance: float = 1e-7,
) -> Any:
    """Exactly `k` labels for each row of a batch, decided together for a macro metric.

    The expected counts of each class are those of the probabilities: no label is needed. Rows are
    taken one after the other and given the labels that raise the mean of the metric over the
    classes most, all others as they are, so that it never falls. The decision of a row depends on
    the batch; `BudgetedTopK` makes a rule that decides any row alone.

    Parameters
    ----------
    probabilities : array, (n_rows, n_classes)
        Calibrated, from 0 to 1.
    k : int
        Labels per row, at least 1; a row of fewer classes gets all of them.
    metric : callable ``(tp, fp, fn, tn) -> array``
        Of a class; `calibrate.metrics.f_beta`, `jaccard`, `precision` and `recall` are quick, any
        other function is called once for each row and pass. A value of nan is taken for 0.
    n_candidates : int
        Labels of a row come from so many classes, or `k` if that is more: half of them its
        likeliest, the others those that are most likelier in it than elsewhere.
    max_passes : int
    tolerance : float
        Passes end when one raises the mean of the metric by no more.

    Returns
    -------
    scipy.sparse.csr_array, bool, (n_rows, n_classes)

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be, or the metric returns something else than one finite
        real number per class.

    References
    ----------
    Schultheis, Wydmuch, Kotłowski, Babbar and Dembczyński (2023), Generalized test utilities for
    long-tail performance in extreme multi-label classification.

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.metrics import f_beta
    >>> p = np.array([[0.9, 0.3], [0.8, 0.4], [0.7, 0.1]])
    >>> block_coordinate_ascent(p, 1, f_beta(1)).toarray().astype(int)
    array([[1, 0],
           [0, 1],
           [1, 0]])
    """
    from scipy import sparse

    k = positive_integer(k, "k")
    n = max(k, positive_integer(n_candidates, "n_candidates"))
    passes = positive_integer(max_passes, "max_passes")
    check_macro_metric(metric)
    matrix = _checked(probabilities)
    sums = np.zeros(matrix.shape[1], dtype=np.int64)
    add_probabilities(matrix, sums)
    k = min(k, matrix.shape[1])
    candidates = Candidates.of_probabilities(matrix, n, k, sums / WHOLE)
    ascent = Ascent(candidates, sums / WHOLE, k, metric)
    ascent.run(passes, tolerance)
    classes = candidates.classes[ascent.chosen]
    ends = np.concatenate([[0], np.cumsum(ascent.chosen)])[candidates.indptr]
    return sparse.csr_array((np.ones(len(classes), np.bool_), classes, ends), shape=matrix.shape)


def _checked(probabilities: Any) -> NDArray[np.float32]:
    """Probabilities as a float32 matrix, rows in order in memory."""
    matrix = np.asarray(probabilities)
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "fiub":
        raise ValueError(
            "probabilities must be a matrix of numbers, one row or more, got shape "
            f"{matrix.shape} of {matrix.dtype}"
        )
    matrix = np.ascontiguousarray(matrix, dtype=np.float32)
    wrong = ~((matrix >= 0) & (matrix <= 1))  # nan is neither
    if wrong.any():
        row, c = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"probabilities must be from 0 to 1, got {matrix[row, c]:g} at row {row}, class {c}"
        )
    return matrix
