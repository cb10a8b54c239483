"""One report that many tests read."""

from __future__ import annotations

import pytest
from reported import fitted, world

import calibrate as cal


@pytest.fixture(scope="session")
def rows():
    """Rows that the pipeline is not fitted to."""
    logits, labels = world()
    return logits[800:], labels[800:]


@pytest.fixture(scope="session")
def pipeline():
    return fitted()


@pytest.fixture(scope="session")
def report(pipeline, rows):
    return cal.threshold_report(pipeline, *rows)
