"""A fitted decision inside a network. The only room, beside the readers, that imports torch."""

from __future__ import annotations

from calibrate.torch.layer import DecisionLayer, Top

__all__ = ["DecisionLayer", "Top"]
