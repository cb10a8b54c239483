"""For Keras 3: a metric that gathers logits as the validation goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from calibrate.torch.accumulator import HistogramAccumulator


def histogram_metric(accumulator: HistogramAccumulator, name: str = "rows") -> Any:
    """A ``keras.metrics.Metric`` that feeds an accumulator; its value is the number of rows.

    Keras resets its metrics before each pass over the data: after ``fit`` with validation data, or
    ``evaluate``, the accumulator holds the rows of that validation, ready for
    ``accumulator.fit(pipeline)``. It asks for the value after each batch, which is why that is no
    figure that takes time.

    Parameters
    ----------
    accumulator : HistogramAccumulator
    name : str
        Of the metric.

    Returns
    -------
    keras.metrics.Metric
        For ``model.compile(metrics=[...])``. The model's output must be logits. With a backend that
        traces the step, not torch's, compile with ``run_eagerly=True``.

    Raises
    ------
    ImportError
        If Keras is not installed.

    Examples
    --------
    >>> from calibrate.torch import HistogramAccumulator
    >>> accumulator = HistogramAccumulator(50)  # metrics=[histogram_metric(accumulator)]
    """
    try:
        import keras
    except ImportError:
        raise ImportError("calibrate.adapters.keras needs Keras 3: pip install keras") from None

    class RowsMetric(keras.metrics.Metric):  # type: ignore[misc]
        """Counts batches into an accumulator."""

        def __init__(self) -> None:
            super().__init__(name=name)

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            """Count a batch."""
            if sample_weight is not None:
                raise ValueError("rows are counted without weights: leave sample_weight out")
            accumulator.update(_tensor(keras, y_pred), _tensor(keras, y_true))

        def result(self) -> float:
            """Rows so far."""
            return float(accumulator.n_rows)

        def reset_state(self) -> None:
            """Forget all rows."""
            accumulator.reset()

    return RowsMetric()


def _tensor(keras: Any, values: Any) -> torch.Tensor:
    """A tensor of any backend as torch's."""
    if isinstance(values, torch.Tensor):
        return values.detach()
    return torch.from_numpy(np.array(keras.ops.convert_to_numpy(values)))
