"""For Lightning: a callback that fits a pipeline in validation, and a writer of logits.

Both ``lightning`` and the older ``pytorch_lightning`` serve.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from calibrate.adapters.row_file import RowFile
from calibrate.base import FitWarning
from calibrate.decision import Decision
from calibrate.pipeline import Pipeline
from calibrate.statistics import Grid
from calibrate.torch.accumulator import HistogramAccumulator

try:
    from lightning.pytorch.callbacks import BasePredictionWriter, Callback
except ImportError:
    try:
        from pytorch_lightning.callbacks import BasePredictionWriter, Callback
    except ImportError:
        raise ImportError(
            "calibrate.adapters.lightning needs Lightning: pip install lightning"
        ) from None


def logits_and_targets(outputs: Any, _: Any) -> tuple[Tensor, Tensor]:
    """What `FitCallback` counts by default: what ``validation_step`` returns under these names."""
    if not (isinstance(outputs, Mapping) and {"logits", "targets"} <= outputs.keys()):
        raise TypeError(
            "validation_step must return a dict with 'logits' and 'targets' for FitCallback, or "
            f"take=... must say where they are, got {type(outputs).__name__}"
        )
    return outputs["logits"], outputs["targets"]


class FitCallback(Callback):  # type: ignore[misc]
    """Fits a pipeline to the logits of each validation epoch, and puts it into the checkpoint.

    The counts of all processes are summed before the fit, which is then the same on each. Lightning
    repeats a few rows where they do not divide by the processes; those count twice.

    Parameters
    ----------
    pipeline : Pipeline
        Cloned for each fit.
    accumulator : HistogramAccumulator
        Gathers the logits; with a reservoir if a step looks along rows.
    take : callable ``(outputs, batch) -> (logits, targets)``, optional
        `outputs` is what ``validation_step`` returned: by default a dict with both names.
    class_names : sequence of str, or path, optional
    dataloader_idx : int
        Which of several validation loaders is counted.
    regrid : bool
        After each epoch, lay the grid of the next one around the logits that came.

    Attributes
    ----------
    decision : Decision or None
        Of the last validation epoch, or of the checkpoint that was loaded. What its fit has to say
        is in its ``provenance``; no warnings are given.

    Examples
    --------
    >>> import calibrate as cal
    >>> from calibrate.torch import HistogramAccumulator
    >>> pipeline = cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(cal.metrics.f_beta(1)))
    >>> callback = FitCallback(pipeline, HistogramAccumulator(50))  # Trainer(callbacks=[callback])
    """

    def __init__(
        self,
        pipeline: Pipeline,
        accumulator: HistogramAccumulator,
        *,
        take: Callable[[Any, Any], tuple[Tensor, Tensor]] = logits_and_targets,
        class_names: Any = None,
        dataloader_idx: int = 0,
        regrid: bool = True,
    ) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.accumulator = accumulator
        self.take = take
        self.class_names = class_names
        self.dataloader_idx = dataloader_idx
        self.regrid = regrid
        self.decision: Decision | None = None

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin anew, where the module is."""
        self.accumulator.reset()
        self.accumulator.to(pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the batch."""
        if dataloader_idx == self.dataloader_idx:
            self.accumulator.update(*self.take(outputs, batch))

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Fit, unless these were only the few batches that Lightning tries first."""
        if trainer.sanity_checking:
            return
        total = self.accumulator.all_reduce()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)
            fitted = total.fit(clone(self.pipeline), class_names=self.class_names)
            if self.regrid:
                self.accumulator.reset(grid=Grid.around(total.histogram()))
        self.decision = fitted.decision_

    def state_dict(self) -> dict[str, Any]:
        """The rule file of the last fit, and the grid of the next, for the checkpoint."""
        if self.decision is None:
            return {}
        grid = self.accumulator.grid
        return {
            "rule": torch.tensor(list(self.decision.to_bytes()), dtype=torch.uint8),
            "grid": torch.from_numpy(np.stack([grid.low, grid.high])),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rule from a checkpoint, and go on with its grid."""
        if state_dict:
            self.decision = Decision.from_bytes(bytes(state_dict["rule"].cpu().numpy()))
            low, high = state_dict["grid"].cpu().numpy().copy()
            self.accumulator.reset(grid=Grid(low, high, self.accumulator.grid.n_bins))


def decision_of_checkpoint(checkpoint: Mapping[str, Any]) -> Decision:
    """The decision that `FitCallback` put into a checkpoint; no trainer is needed.

    Parameters
    ----------
    checkpoint : mapping
        What ``torch.load(path, weights_only=True)`` gives.

    Raises
    ------
    ValueError
        If there is none, or it is damaged.
    """
    state = checkpoint.get("callbacks", {}).get(FitCallback.__qualname__, {})
    if "rule" not in state:
        raise ValueError("the checkpoint must hold a rule of FitCallback, it holds none")
    return Decision.from_bytes(bytes(state["rule"].cpu().numpy()))


class LogitWriter(BasePredictionWriter):  # type: ignore[misc]
    """Streams the logits of ``Trainer.predict`` to one ``.npy`` file, in the order of the data set.

    Each process writes the rows that it predicts to their places. The file appears under its name
    when all rows are there; give ``return_predictions=False`` so that nothing else keeps them.

    Parameters
    ----------
    path : path
        Of the file, float32, (n_rows, n_classes); in a folder that all processes see.
    take : callable ``outputs -> logits``, optional
        `outputs` is what ``predict_step`` returned: by default the logits, or a dict with them.

    Raises
    ------
    TypeError, ValueError
        In prediction, if there are several loaders, the loader does not say which rows it gives, or
        some rows never come.

    Examples
    --------
    >>> writer = LogitWriter("logits.npy")  # Trainer(callbacks=[writer])
    """

    def __init__(
        self, path: str | os.PathLike[str], *, take: Callable[[Any], Tensor] | None = None
    ) -> None:
        super().__init__(write_interval="batch")
        self.path = path
        self.take = _logits if take is None else take
        self._file: RowFile | None = None

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """Remove what an interrupted run has left, before anybody writes."""
        loaders = trainer.predict_dataloaders
        if isinstance(loaders, Sequence):
            if len(loaders) != 1:
                raise ValueError(f"LogitWriter needs one predict loader, got {len(loaders)}")
            (loaders,) = loaders
        self._file = RowFile(self.path, len(loaders.dataset))
        if trainer.is_global_zero:
            self._file.discard()
        trainer.strategy.barrier()

    def write_on_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the rows of a batch."""
        if not batch_indices:
            raise TypeError(
                "LogitWriter needs a loader that says which rows it gives, a torch DataLoader of "
                "a data set with a length and an order"
            )
        logits = self.take(prediction).detach().float().cpu().numpy()
        if self._file is not None:
            self._file.write(batch_indices, logits)

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        """Give the file its name, if all rows are there."""
        file, self._file = self._file, None
        if file is None:
            return
        file.close()
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            file.finish()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave nothing half-written behind."""
        if self._file is not None:
            self._file.discard()
            self._file = None


def _logits(outputs: Any) -> Tensor:
    found = outputs["logits"] if isinstance(outputs, Mapping) else outputs
    if not isinstance(found, Tensor):
        raise TypeError(
            "predict_step must return the logits, or a dict with 'logits', for LogitWriter, or "
            f"take=... must say where they are, got {type(outputs).__name__}"
        )
    return found
