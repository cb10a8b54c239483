"""Which array of a file with several is meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence

LOGITS_KEYS = ("logits", "scores", "preds", "predictions")
LABELS_KEYS = ("labels", "targets", "y_true")


def choose_key(
    members: Sequence[str],
    key: str | None,
    known: tuple[str, ...],
    shape_of: Callable[[str], tuple[int, ...] | None],
    where: str,
) -> str:
    """Name of the array to read: the one asked for, a usual name, or the only matrix.

    Parameters
    ----------
    members : sequence of str
        Arrays in the file.
    key : str or None
        The one that the caller asked for.
    known : tuple of str
        Usual names, the first that is there wins: `LOGITS_KEYS` or `LABELS_KEYS`.
    shape_of : callable
        Shape of a member, None for what is no array; asked only when no name decides.
    where : str
        The file, for the message.

    Returns
    -------
    str
        One of `members`.

    Raises
    ------
    ValueError
        If `key` is not there, or nothing says which member is meant.

    Examples
    --------
    >>> choose_key(["ids", "logits"], None, LOGITS_KEYS, {}.get, "run.npz")
    'logits'
    """
    if key is not None:
        if key in members:
            return key
        raise ValueError(f"{where} must hold {key!r}, got {_listed(members, shape_of)}")
    for name in known:
        if name in members:
            return name
    matrices = [name for name in members if len(shape_of(name) or ()) == 2]
    if len(matrices) == 1:
        return matrices[0]
    if len(members) == 1:  # whatever is wrong with it is said by whoever reads it
        return members[0]
    raise ValueError(
        f"{where} must hold one of {', '.join(known)}, or only one matrix, got "
        f"{_listed(members, shape_of)}: give the key (calibrate.as_logits(..., key=...) or "
        "as_labels in Python, --logits-key or --labels-key on the command line)"
    )


def refuse_key(key: str | None, where: str) -> None:
    """Say so when a key is given for a file that holds one array without a name.

    Parameters
    ----------
    key : str or None
        What the caller asked for.
    where : str
        The file, for the message.

    Raises
    ------
    ValueError
        If there is a key.
    """
    if key is not None:
        raise ValueError(f"{where} holds one array without a name: give no key, got {key!r}")


def _listed(members: Sequence[str], shape_of: Callable[[str], tuple[int, ...] | None]) -> str:
    if not members:
        return "no arrays"
    shown = [f"{name} {shape_of(name) or ''}".rstrip() for name in members[:20]]
    more = len(members) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
