"""What ``calibrate inspect`` says of each kind of content, as plain JSON values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from calibrate.cli import options
from calibrate.cli.output import bar

CLASS_NAMES = "class_names"
"""Array of a ``.npz`` file of labels that holds its class names, as ``calibrate apply`` writes."""


def _is_count(value: Any) -> bool:
    return value is None or type(value) is int


def _is_number(value: Any) -> bool:
    return value is None or type(value) in (int, float)


def _is_step(value: Any) -> bool:
    """Whether it tells of a fitted step, with its findings and its report, if it has one."""
    if not isinstance(value, dict) or not isinstance(value.get("findings"), list):
        return False
    report = value.get("report", {"in_words": []})
    in_words = report.get("in_words") if isinstance(report, dict) else None
    texts = [value.get("step"), *(in_words if isinstance(in_words, list) else [None])]
    for finding in value["findings"]:
        if not isinstance(finding, dict) or not isinstance(finding.get("classes"), list):
            return False
        texts += [finding.get("code"), finding.get("message")]
    return all(isinstance(text, str) for text in texts)


def _is_cross_fit(value: Any) -> bool:
    """Whether it holds figures of a cross-fit, or is None."""
    if value is None:
        return True
    if not isinstance(value, dict) or type(value.get("folds")) is not int:
        return False
    parts = [value.get("out_of_sample"), value.get("optimism")]
    return all(
        isinstance(part, dict) and name in part and _is_number(part[name])
        for part in parts
        for name in options.FIGURES
    )


_PROVENANCE: dict[str, Callable[[Any], bool]] = {
    "calibrate": lambda value: value is None or isinstance(value, str),
    "pipeline": lambda value: (
        value is None or (isinstance(value, list) and all(map(_is_step, value)))
    ),
    "n_rows": _is_count,
    "n_rows_apart": _is_count,
    "n_positives": _is_count,
    "cross_fit": _is_cross_fit,
}
"""What the parts of a provenance must be that are told; each may be missing."""


def rule(path: Path) -> dict[str, Any]:
    """What a rule file decides, and what it was fitted to.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    from calibrate.decision import load

    decision = load(path)
    provenance = decision.header()["provenance"]
    for name, fits in _PROVENANCE.items():
        if not fits(provenance.get(name)):
            raise ValueError(
                f"{path}: what the rule says of its fit is not of the form that this version "
                f"writes, at {name!r}"
            )
    findings = [
        {
            "step": part["step"],
            "code": finding["code"],
            "message": finding["message"],
            "n_classes": len(finding["classes"]),
        }
        for part in (provenance.get("pipeline") or [])
        for finding in part["findings"]
    ]
    learned = [
        {"step": part["step"], **part["report"]}
        for part in (provenance.get("pipeline") or [])
        if "report" in part
    ]
    return {
        "kind": "rule",
        "n_classes": decision.n_classes,
        "class_names": _listed(decision.class_names),
        "steps": [_op(op) for op in (*decision.steps, decision.rule)],
        "fitted_by": f"calibrate {provenance.get('calibrate', 'of unknown version')}",
        "n_rows": provenance.get("n_rows"),
        **({"n_rows_apart": provenance["n_rows_apart"]} if "n_rows_apart" in provenance else {}),
        "n_positives": provenance.get("n_positives"),
        "cross_fit": provenance.get("cross_fit"),
        "learned": learned,
        "findings": findings,
    }


def _op(op: Any) -> dict[str, Any]:
    import numpy as np

    arrays = {
        name: {
            "shape": list(array.shape),
            **_span(array),
            "never": int(np.isposinf(array).sum()),
        }
        for name, array in op.arrays().items()
    }
    numbers = {
        name: None if value is None or not np.isfinite(value) else value
        for name, value in op.numbers().items()
    }
    return {"op": op.wire_name, "numbers": numbers, "arrays": arrays}


def _span(array: Any) -> dict[str, float | None]:
    """Lowest and highest of the finite values."""
    import numpy as np

    finite = array[np.isfinite(array)]
    if not finite.size:
        return {"lowest": None, "highest": None}
    return {"lowest": float(finite.min()), "highest": float(finite.max())}


def class_names(path: Path) -> dict[str, Any]:
    """Class names as a file has them, and what is wrong with them, if anything.

    Raises
    ------
    ValueError
        If the file is no list of names at all.
    """
    from calibrate import readers
    from calibrate.data import as_class_names

    names = readers.read_class_names(path)
    error = None
    try:
        as_class_names(names)
    except ValueError as refusal:
        error = str(refusal)
    return {
        "kind": "class names",
        "count": len(names),
        "class_names": _listed(names),
        "error": error,
    }


def numbers(path: Path) -> dict[str, Any]:
    """Numbers of a file, such as one weight per class.

    Raises
    ------
    ValueError, click.UsageError
        If the file is damaged.
    """
    import numpy as np

    if path.suffix.lower() == ".npy":
        found = np.load(path, allow_pickle=False).astype(np.float64)
    else:
        found = options.read_numbers(str(path))
    return {
        "kind": "numbers",
        "count": int(found.size),
        **_span(found),
        "not_positive": int(found.size - (found > 0).sum()),
        "not_finite": int(found.size - np.isfinite(found).sum()),
    }


def logits(rows: Any, quiet: bool) -> dict[str, Any]:
    """Range of opened logits, and what is not finite, in one pass over the rows."""
    import numpy as np

    n_rows, n_classes = rows.shape
    step = max(1, (1 << 22) // max(1, n_classes))
    low, high, above, n_nan, n_infinite = np.inf, -np.inf, 0, 0, 0
    dtype = str(np.asarray(rows[0:1]).dtype)
    with bar(quiet, n_rows, "rows") as advance:
        for start in range(0, n_rows, step):
            block = np.asarray(rows[start : start + step], dtype=np.float64)
            finite = block[np.isfinite(block)]
            n_nan += int(np.isnan(block).sum())
            n_infinite += int(np.isinf(block).sum())
            low = min(low, float(finite.min(initial=np.inf)))
            high = max(high, float(finite.max(initial=-np.inf)))
            above += int((finite >= 0).sum())
            advance(len(block))
    some = low <= high
    return {
        "kind": "logits",
        "n_rows": n_rows,
        "n_classes": n_classes,
        "dtype": dtype,
        "lowest": low if some else None,
        "highest": high if some else None,
        "nan": n_nan,
        "infinite": n_infinite,
        "labels_per_row_at_0.5": round(above / n_rows, 3) if n_rows else None,
        "look_like_probabilities": bool(some and low >= 0 and high <= 1),
    }


def labels(rows: Any, names: Any) -> dict[str, Any]:
    """How many labels there are, by row and by class.

    Parameters
    ----------
    rows : sparse matrix, dense rows, or lists of labels
        As `calibrate.readers.open_label_file` gives them.
    names : path, sequence of str, or None
        Class names. Lists do not say how many classes there are: without names, the classes are
        those up to the highest id, or the different names that occur.

    Raises
    ------
    TypeError, ValueError
        If they are no labels, or do not fit the names.
    """
    import numpy as np

    from calibrate.data import as_class_names, as_labels

    names = as_class_names(names)
    if isinstance(rows, list) and names is None:
        found = _from_lists(rows)
    else:
        found = as_labels(rows, class_names=names)
    n_rows, n_classes = found.shape
    per_row, per_class = np.diff(found.indptr), found.positives
    return {
        "kind": "labels",
        "n_rows": n_rows,
        "n_classes": n_classes,
        "n_labels": found.n_labels,
        "labels_per_row": round(found.n_labels / n_rows, 3) if n_rows else None,
        "rows_without_labels": int((per_row == 0).sum()),
        "classes_without_positives": int((per_class == 0).sum()),
        "positives_per_class": (
            {
                "lowest": int(per_class.min()),
                "median": float(np.median(per_class)),
                "highest": int(per_class.max()),
            }
            if n_classes
            else None
        ),
        "class_names": _listed(names),
    }


def _from_lists(rows: list[list[int | str]]) -> Any:
    from calibrate.data import Labels, as_labels

    different = {label for row in rows for label in row}
    if any(isinstance(label, str) for label in different):
        return as_labels(rows, class_names=tuple(sorted(map(str, different))))
    n_classes = max(map(int, different), default=-1) + 1
    if n_classes >= 1 << 31:
        raise ValueError(f"labels must be class ids below 2**31, got {n_classes - 1}")
    # One class more than is known of, so that rows with all of them are not taken for a 0/1 matrix.
    checked = as_labels(rows, n_classes + 1)
    return Labels(checked.indptr, checked.indices, n_classes)


def names_within(path: Path) -> tuple[str, ...]:
    """Class names that a ``.npz`` file of labels holds beside them.

    Raises
    ------
    ValueError
        If the array does not hold strings.
    """
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        stored = archive[CLASS_NAMES]
    if stored.ndim != 1 or stored.dtype.kind != "U":
        raise ValueError(f"{CLASS_NAMES!r} in {path} must be a list of strings")
    return tuple(str(name) for name in stored)


def _listed(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)
