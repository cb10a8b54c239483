"""Other class prevalences than those of the fitting rows."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrate import label_shift
from calibrate.base import Calibrator, Fitted, find
from calibrate.data import as_logits, unlabelled
from calibrate.ops import Affine
from calibrate.statistics import Evidence, ScoreHistogram

_LEAST_APART = 0.05
_MOST_SE = 2.0
_FAR_SE = 3.0


class PriorShift(Calibrator):
    """Move calibrated logits to the prevalences of other rows: ``z + L(pi_t) - L(pi_s)``.

    ``L`` is the logit, ``pi_s`` the mean calibrated probability of the fitting rows and ``pi_t``
    the prevalence where the decisions will be used. It is found from `target`, logits of such rows
    without labels, as the prevalence of greatest likelihood

        ``max sum log(pi p / pi_s + (1 - pi) (1 - p) / (1 - pi_s))``,

    or given as `prevalence`. Place it after the calibrators that make the logits mean something:
    it takes their probabilities at their word.

    Parameters
    ----------
    target : array, tensor, path, ..., (n_target_rows, n_classes), optional
        Raw logits of the same network and classes, in nats; see `calibrate.data.as_logits`, which
        also serves for other than its plain options. The steps before this one are applied to
        them. Probabilities if the fitting rows are. Never copied, also where the step is cloned.
    prevalence : float or array, (n_classes,), optional
        Shares of positives, above 0 and below 1, taken as they are. Exactly one of the two must
        be given.

    Notes
    -----
    Where nothing shifted, nothing moves: ``pi_s`` is a mean of probabilities, not of labels, so
    that the fitting rows themselves, given as `target`, are an exact fixed point. A class moves
    only if ``pi_t - pi_s`` exceeds two standard errors, those of both sets of rows, and the
    difference is first shrunk by ``1 - (standard error / difference)^2``; on the prevalence, where
    the likelihood is nearly normal, since near 0 a log-ratio has no usable error. A class never
    moves where the rates of ``p >= pi_s`` among its positives and among its negatives differ by no
    more than 0.05: such scores cannot tell one prevalence from another. The same two rates give a
    second estimate (BBSE), and ``findings_`` lists the moved classes, with their prevalence, those
    held back, and those in which the two estimates lie far apart, which a shift of prevalence alone
    does not explain.

    That the rows of each class stay as they are while their share changes cannot hold for all
    classes at once where labels depend on each other. The classes are moved one by one: an
    approximation.

    A rule that is fitted to the labels of the fitting rows takes the move back: thresholds found
    by a sweep move along with the logits. Decide by a rule that goes by the probabilities alone,
    such as `FixedThreshold`, and expect figures on the fitting rows to fall.

    Raises
    ------
    ValueError
        On fit, unless exactly one of the two is given, prevalences lie between 0 and 1 and are one
        or one per class, and the target has rows and the classes of the fitting rows.

    References
    ----------
    Saerens, Latinne and Decaestecker (2002), Adjusting the outputs of a classifier to new a priori
    probabilities, section 2 (the likelihood, whose maximum their EM approaches); Lipton, Wang and
    Smola (2018), Detecting and correcting for label shift with black box predictors, section 4
    (BBSE); Alexandari, Kundaje and Shrikumar (2020), Maximum likelihood with bias-corrected
    calibration is hard-to-beat at label shift adaptation, section 2 (``pi_s``).

    Examples
    --------
    >>> import numpy as np
    >>> logits, labels = np.array([[-1.0], [1.0]]), np.array([[0], [1]])
    >>> PriorShift(prevalence=0.2).fit(logits, labels).transform(logits).round(3)
    array([[-2.386],
           [-0.386]], dtype=float32)

    From unlabelled rows, of which three in ten are positive instead of one in ten:

    >>> import warnings
    >>> rng = np.random.default_rng(0)
    >>> labels, new = rng.random((5000, 1)) < 0.1, rng.random((5000, 1)) < 0.3
    >>> def logits_of(labels):  # as good as they can be for a share of one in ten
    ...     return 4 * rng.normal(labels, 0.5) - 2 - np.log(9)
    >>> logits, target = logits_of(labels), logits_of(new)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     shift = PriorShift(target).fit(logits, labels)
    >>> abs(shift.op_.shift - np.log(0.3 / 0.7 * 9)).max() < 0.1
    np.True_
    """

    def __init__(self, target: Any = None, prevalence: Any = None) -> None:
        self.target = target
        self.prevalence = prevalence

    def __sklearn_clone__(self) -> Self:
        # the usual clone would copy the target, which is only ever read
        return type(self)(self.target, self.prevalence)

    def _fit(self, evidence: Evidence) -> Fitted:
        if (self.target is None) == (self.prevalence is None):
            given = "neither" if self.target is None else "both"
            raise ValueError(f"one of target and prevalence must be given, got {given}")
        source = evidence.histogram
        mean = label_shift.mean_probability(source)
        known = (mean > 0) & (mean < 1)
        mean[~known] = np.nan
        if self.prevalence is not None:
            move = label_shift.logit(self._prevalence(len(mean))) - label_shift.logit(mean)
            saturated = "have no scores, or probabilities of 0 or 1 alone: they are not moved"
            return Fitted(_moving(np.where(known, move, 0.0)), find("saturated", saturated, ~known))
        target = self._target(evidence)
        found = label_shift.by_likelihood(source, target, mean)
        check = label_shift.by_confusion(source, target, mean)
        with np.errstate(invalid="ignore", divide="ignore"):
            usable = np.abs(check.apart) > _LEAST_APART
            moved = usable & (np.abs(found.shift) > _MOST_SE * np.sqrt(found.variance))
            prevalence = mean + found.shift - found.variance / found.shift
            move = label_shift.logit(prevalence) - label_shift.logit(mean)
            move = np.where(moved, move, 0.0)
            gap = np.abs(found.shift - check.shift)
            noise = np.sqrt(found.variance + check.variance)
            far = moved & (gap > _FAR_SE * noise) & (gap > np.abs(found.shift) / 2)
        return Fitted(
            _moving(move),
            (
                *find(
                    "moved",
                    "have another prevalence in the target than in the fitting rows: their logits "
                    "are moved; the values are the new prevalences",
                    moved,
                    prevalence,
                ),
                *find(
                    "not_separated",
                    "have scores that hardly tell positives from negatives (the rates of high ones "
                    f"differ by no more than {_LEAST_APART}): they are not moved; the values are "
                    "the differences",
                    ~usable,
                    np.nan_to_num(check.apart),
                ),
                *find(
                    "estimates_differ",
                    "are moved although the rate of high scores tells another prevalence, far from "
                    "the likelihood's: more than the prevalence has changed, or the probabilities "
                    "are wrong; the values are its prevalences",
                    far,
                    np.clip(mean + check.shift, 0.0, 1.0),
                ),
            ),
        )

    def _target(self, evidence: Evidence) -> ScoreHistogram:
        """The target's logits after the steps so far, on the grid of the fitting rows."""
        logits = as_logits(self.target, probabilities=evidence.from_probabilities)
        n_rows, n_classes = logits.shape
        if n_classes != evidence.n_classes:
            raise ValueError(
                f"target must have the {evidence.n_classes} classes of the fitting rows, got "
                f"{n_classes} classes"
            )
        if n_rows == 0:
            raise ValueError(f"target must have at least one row, got shape {logits.shape}")
        rows, moving = unlabelled(logits), evidence.histogram.steps
        # the fitting rows were counted after some of the steps, and the others move the means
        for step in evidence.steps[: len(evidence.steps) - len(moving)]:
            rows = rows.after(step)
        found = ScoreHistogram.of(rows, evidence.histogram.grid)
        for step in moving:
            found = found.after(step)
        return found

    def _prevalence(self, n_classes: int) -> NDArray[np.float64]:
        prevalence = np.asarray(self.prevalence, dtype=np.float64)
        if prevalence.shape not in ((), (n_classes,)):
            raise ValueError(
                f"prevalence must be a number or one per class, got shape {prevalence.shape} for "
                f"{n_classes} classes"
            )
        wrong = ~((prevalence > 0) & (prevalence < 1))
        if wrong.any():
            where = f" at class {int(np.argmax(wrong))}" if prevalence.ndim else ""
            raise ValueError(
                f"prevalence must lie between 0 and 1, got {prevalence[wrong].flat[0]:g}{where}"
            )
        return prevalence


def _moving(move: NDArray[np.float64]) -> Affine:
    return Affine(np.array(1.0, np.float32), move.astype(np.float32))
