"""What a peer is given at a time: some classes over all rows, or some rows over all classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from calibrate.ops import Affine
from suite.case import Case, Rules


@dataclass(frozen=True)
class Lines:
    """Some classes, each a contiguous line.

    Attributes
    ----------
    scores : float32, (n_classes_here, n_rows)
        Logits.
    truth : bool, (n_classes_here, n_rows)
    """

    scores: NDArray[np.float32]
    truth: NDArray[np.bool_]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Sigmoids of the scores, in float64, which keeps distinct scores distinct."""
        return np.asarray(special.expit(self.scores.astype(np.float64)))


@dataclass(frozen=True)
class Columns(Lines):
    """The classes ``first:last`` of a case.

    Attributes
    ----------
    first, last : int
    rules : Rules
        Those of the case, of all classes.
    """

    unit: ClassVar[str] = "classes"
    fewest: ClassVar[int] = 1
    first: int
    last: int
    rules: Rules

    @staticmethod
    def there_are(case: Case) -> int:
        """All classes."""
        return int(case.logits.shape[1])

    @staticmethod
    def cells_each(case: Case) -> int:
        """Cells of one class."""
        return int(case.logits.shape[0])

    @classmethod
    def of(cls, case: Case, first: int, last: int) -> Self:
        """Gather some classes; their order is random, so that these are a sample."""
        scores = np.array(case.logits[:, first:last].T, order="C")
        truth = case.labels_by_class[:, first:last].toarray().T.astype(bool, order="C")
        return cls(scores, truth, first, last, case.rules)

    @property
    def calibrated(self) -> NDArray[np.float64]:
        """Platt-scaled probabilities, for peers that need calibrated ones."""
        line = platt_line(self.rules)
        here = slice(self.first, self.last)
        logits = self.scores * line.scale[here, None] + line.shift[here, None]
        return np.asarray(special.expit(logits.astype(np.float64)))


@dataclass(frozen=True)
class Rows:
    """The rows ``first:last``.

    Attributes
    ----------
    scores : float32, (n_rows_here, n_classes)
    labels : CSR, bool
    rules : Rules
    """

    unit: ClassVar[str] = "rows"
    fewest: ClassVar[int] = 32
    first: int
    last: int
    scores: NDArray[np.float32]
    labels: sparse.csr_array
    rules: Rules

    @staticmethod
    def there_are(case: Case) -> int:
        """All rows."""
        return int(case.logits.shape[0])

    @staticmethod
    def cells_each(case: Case) -> int:
        """Cells of one row."""
        return int(case.logits.shape[1])

    @classmethod
    def of(cls, case: Case, first: int, last: int) -> Self:
        """Some rows, as they lie in RAM."""
        labels = sparse.csr_array(case.labels[first:last])
        return cls(first, last, case.logits[first:last], labels, case.rules)


def platt_line(rules: Rules) -> Affine:
    """Slope and intercept of each class, of the rule that begins with Platt scaling."""
    (line,) = rules.top_k.steps
    assert isinstance(line, Affine)
    return line
