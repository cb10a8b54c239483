"""Figures that another implementation of these methods gave on logits of the same kind.

Its generator is not this one: what had no given value was chosen there as it was here, by hand. So
the two columns of a table agree about as well as two draws of the classes do, and the comparison
that counts is between the methods of one column.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """F1 by averages, predicted over true labels, average precision; None where not known."""

    macro: float | None = None
    rare: float | None = None
    middle: float | None = None
    frequent: float | None = None
    micro: float | None = None
    instance: float | None = None
    count_ratio: float | None = None
    micro_ap: float | None = None
    macro_ap: float | None = None


_RAW_A = Row(0.1199, 0.012, 0.069, 0.278, 0.148, 0.136, 9.30, 0.170, 0.168)
_SWEEP_A = Row(0.1991, 0.062, 0.177, 0.358, 0.336, 0.289, 1.57)

REFERENCE: dict[str, dict[str, Row]] = {
    "A": {
        "raw, 0.5": _RAW_A,
        "z - log w, 0.5": Row(0.1388, 0.029, 0.107, 0.280, 0.320, 0.259, 0.55, 0.318, 0.168),
        "z - log w, T, b, 0.5": Row(0.0771, 0.017, 0.055, 0.159, 0.188, 0.145, 0.19),
        "z - log w, plug-in": Row(0.2019, 0.071, 0.178, 0.357, 0.354, 0.307, 1.55),
        "pooled, plug-in": Row(0.2043, 0.072, 0.182, 0.359, 0.357, 0.308, 1.48),
        "swept": _SWEEP_A,
        "swept, on fitting rows": Row(0.2337),
        "isotonic of every class, plug-in": Row(0.1999, 0.064, 0.177, 0.358, 0.336, 0.289, 1.57),
        "default, plug-in": Row(0.2057, 0.073, 0.183, 0.361, 0.360, 0.311, 1.42),
        "default, one threshold": Row(0.1650, 0.020, 0.127, 0.347, 0.381, 0.329, 1.21, 0.344),
        "default, expected count": Row(0.1476, 0.013, 0.100, 0.329, 0.371, 0.332, 1.00),
        "oracle, plug-in": Row(0.2124, 0.076, 0.191, 0.370, micro_ap=0.356),
    },
    "B": {
        "raw, 0.5": Row(0.185, micro=0.355, instance=0.295, count_ratio=0.88),
        "z - log w, plug-in": Row(0.110, micro=0.273, instance=0.216),
        "swept": Row(0.199, micro=0.336, instance=0.289),
        "default, plug-in": Row(0.205),
        "default, one threshold": Row(micro=0.382),
    },
    "Cn": {
        "raw, 0.5": Row(0.120, micro=0.148, instance=0.136, count_ratio=9.3),
        "pooled, plug-in": Row(0.203),
        "swept": Row(0.199, micro=0.336, instance=0.289),
        "default, plug-in": Row(0.205),
        "default, one threshold": Row(micro=0.381),
    },
    "D": {
        "raw, 0.5": Row(0.126, micro=0.148, instance=0.135, count_ratio=9.4),
        "swept": Row(0.194, micro=0.279, instance=0.238),
        "swept, on fitting rows": Row(0.268),
        "default, plug-in": Row(0.210),
        "default, one threshold": Row(micro=0.379),
    },
    "E": {
        "raw, 0.5": Row(0.234, micro=0.274, instance=0.246, count_ratio=2.60, micro_ap=0.221),
        "z - log w, 0.5": Row(micro_ap=0.256),
        "swept": Row(0.249, micro=0.302, instance=0.266),
        "default, plug-in": Row(0.252),
        "default, one threshold": Row(micro=0.322, micro_ap=0.265),
        "default, expected count": Row(instance=0.281, count_ratio=1.003),
    },
    "F": {
        "raw, 0.5": Row(0.113, micro=0.153, instance=0.145, count_ratio=10.0),
        "swept": Row(0.216, micro=0.298, instance=0.271),
        "Platt, plug-in": Row(0.215, micro=0.291, instance=0.273),
        "default, plug-in": Row(0.226),
        "default, one threshold": Row(micro=0.307),
    },
}
"""By setting and method. In F the line of each class alone, drawn to the others, stands in for
Platt's."""
