"""Small pieces of HTML for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts, none of which is read as markup.

    Examples
    --------
    >>> table(["a"], [["<b>"]])
    '<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def fitted(provenance: Mapping[str, Any]) -> str:
    """What a fit made of what: a row for each step, with what it learned and found."""
    rows = [
        (
            part["step"],
            ", ".join(f"{name}={value}" for name, value in part["options"].items()),
            "; ".join(
                [
                    *part.get("report", {}).get("in_words", ()),
                    *(finding["message"] for finding in part["findings"]),
                ]
            ),
        )
        for part in provenance["pipeline"]
    ]
    said = f"fitted to {provenance['n_rows']:,} rows with {provenance['n_positives']:,} labels"
    return f"<p>{said}</p>" + table(["step", "options", "learned"], rows)
