"""A small torch network for bags of tokens, trained with or without ``pos_weight``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

_HIDDEN = 128
_LEARNING_RATE = 5e-3
_BATCH_ROWS = 64
_LOGIT_ROWS = 1024


def split_rows(
    n_rows: int, *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Split rows at random: 60 % to train on, 20 % to fit decisions on, 20 % to judge them on.

    Parameters
    ----------
    n_rows : int
    seed : int

    Returns
    -------
    train, validation, test : int64, sorted row numbers
        Every row is in exactly one of the three.

    Raises
    ------
    ValueError
        If there are fewer than 5 rows: then one of the three would be empty.
    """
    if n_rows < 5:
        raise ValueError(f"n_rows must be at least 5 to be split 60 : 20 : 20, got {n_rows}")
    order = np.random.default_rng(seed).permutation(n_rows)
    ends = [n_rows * 3 // 5, n_rows * 4 // 5]
    train, validation, test = (np.sort(part) for part in np.split(order, ends))
    return train, validation, test


class TokenNetwork:
    """A trained network; made by :func:`train_network`."""

    def __init__(self, layers: torch.nn.ModuleDict, n_tokens: int, n_classes: int) -> None:
        self._layers = layers
        self._n_tokens = n_tokens
        self._n_classes = n_classes

    def logits(self, features: csr_array[np.float32]) -> NDArray[np.float32]:
        """Score rows.

        Parameters
        ----------
        features : scipy CSR, float32, (n_rows, n_tokens)

        Returns
        -------
        float32, (n_rows, n_classes), in nats

        Raises
        ------
        ValueError
            If ``features`` has not the number of columns the network was trained with.
        """
        import torch

        if features.shape[1] != self._n_tokens:
            raise ValueError(
                f"features must have the {self._n_tokens} columns the network was trained with, "
                f"got {features.shape[1]}"
            )
        blocks = [np.empty((0, self._n_classes), np.float32)]
        with torch.no_grad():
            for start in range(0, features.shape[0], _LOGIT_ROWS):
                block = features[start : start + _LOGIT_ROWS]
                blocks.append(_forward(self._layers, block).numpy())
        return np.concatenate(blocks)


def train_network(
    features: csr_array[np.float32],
    labels: csr_array[np.bool_],
    *,
    pos_weight: NDArray[np.float32] | None,
    epochs: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> TokenNetwork:
    """Train an embedding bag, one hidden layer and a linear output by Adam.

    Parameters
    ----------
    features : scipy CSR, float32, (n_rows, n_tokens)
        Weights of the tokens of each row.
    labels : scipy CSR, bool, (n_rows, n_classes)
    pos_weight : float32, (n_classes,), or None
        Given to ``BCEWithLogitsLoss`` as it is; None trains the unweighted network.
    epochs : int
    seed : int
        Decides the first weights and the order of the rows; torch's global generator is left
        as it was.
    progress : callable, optional
        Called after each epoch with the number of epochs done and of all epochs.

    Returns
    -------
    TokenNetwork
        Has ``logits(features)``.

    Raises
    ------
    ValueError
        If the row counts differ, there are no rows, ``epochs`` is not positive, or
        ``pos_weight`` is not one positive finite number per class.
    """
    import torch

    n_rows, n_classes = labels.shape
    weight = _checked(features.shape[0], n_rows, n_classes, pos_weight, epochs)
    loss_of = torch.nn.BCEWithLogitsLoss(
        pos_weight=None if weight is None else torch.from_numpy(weight)
    )
    order = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = torch.nn.ModuleDict(
            {
                "embedding": torch.nn.EmbeddingBag(features.shape[1], _HIDDEN, mode="sum"),
                "hidden": torch.nn.Linear(_HIDDEN, _HIDDEN),
                "output": torch.nn.Linear(_HIDDEN, n_classes),
            }
        )
    optimizer = torch.optim.Adam(layers.parameters(), lr=_LEARNING_RATE, fused=True)
    with _one_thread():
        for epoch in range(1, epochs + 1):
            rows = order.permutation(n_rows)
            for start in range(0, n_rows, _BATCH_ROWS):
                batch = rows[start : start + _BATCH_ROWS]
                target = torch.from_numpy(labels[batch].toarray().astype(np.float32))
                optimizer.zero_grad()
                loss_of(_forward(layers, features[batch]), target).backward()
                optimizer.step()
            if progress is not None:
                progress(epoch, epochs)
    return TokenNetwork(layers, features.shape[1], n_classes)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread for a while.

    The steps are so small that a second thread gains little on idle cores and loses a factor of
    ten on busy ones; and the result does not depend on the number of cores.
    """
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _forward(layers: torch.nn.ModuleDict, features: csr_array[np.float32]) -> torch.Tensor:
    import torch

    summed = layers["embedding"](
        torch.from_numpy(features.indices.astype(np.int64)),
        torch.from_numpy(features.indptr[:-1].astype(np.int64)),
        per_sample_weights=torch.from_numpy(features.data.astype(np.float32)),
    )
    hidden = torch.relu(layers["hidden"](torch.relu(summed)))
    output: Any = layers["output"](hidden)
    return output  # type: ignore[no-any-return]


def _checked(
    n_feature_rows: int,
    n_rows: int,
    n_classes: int,
    pos_weight: NDArray[np.float32] | None,
    epochs: int,
) -> NDArray[np.float32] | None:
    if n_feature_rows != n_rows or n_rows == 0:
        raise ValueError(
            f"features and labels must have the same rows, at least one, "
            f"got {n_feature_rows} and {n_rows}"
        )
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    if pos_weight is None:
        return None
    weight = np.array(pos_weight, dtype=np.float32)
    if weight.shape != (n_classes,):
        raise ValueError(
            f"pos_weight must have one number per class, ({n_classes},), got shape {weight.shape}"
        )
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight > 0)))
    if bad.size:
        raise ValueError(
            f"pos_weight must be positive and finite, got {weight[bad[0]]} at class {bad[0]}"
        )
    return weight
