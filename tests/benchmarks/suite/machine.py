"""Where it ran."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from calibrate import threads

PACKAGES = (
    "calibrate-multilabel",
    "numpy",
    "scipy",
    "numba",
    "scikit-learn",
    "torch",
    "torchmetrics",
    "optimal-classification-cutoffs",
    "xcolumns",
    "mapie",
    "netcal",
)


def describe() -> dict[str, Any]:
    """Processor, memory, kernel and versions, as plain JSON values."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads.n_threads(),
        "caches": _caches(),
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "load_average_at_start": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def last_level_cache() -> int:
    """Bytes of the largest cache that this machine reports, or 0."""
    return max((_bytes(size) for size in _caches().values()), default=0)


def _field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _caches() -> dict[str, str]:
    """Sizes of the caches of the first core: ``{"L1 Data": "32K", ...}``."""
    found = {}
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (
            (cache / part).read_text().strip() for part in ("level", "type", "size")
        )
        found[f"L{level} {kind}"] = size
    return found


def _bytes(size: str) -> int:
    return int(size.rstrip("KM")) << {"K": 10, "M": 20}.get(size[-1], 0)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
