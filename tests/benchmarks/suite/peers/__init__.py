"""The same jobs by other libraries, called as their documentation says.

A peer is given what it likes best, and making it is not timed: each class as a contiguous column
in RAM, dense labels, probabilities in float64 where it asks for probabilities. It is called once
on a tiny case first, and it may use all threads if it knows how to. What it makes is held against
ours.
"""

from __future__ import annotations

from suite.peers.labelling import PEERS as _LABELLING
from suite.peers.peer import Peer, measure
from suite.peers.probabilities import PEERS as _PROBABILITIES
from suite.peers.shared_threshold import PEERS as _SHARED_THRESHOLD
from suite.peers.thresholds import PEERS as _THRESHOLDS

PEERS: tuple[Peer, ...] = (*_THRESHOLDS, *_PROBABILITIES, *_SHARED_THRESHOLD, *_LABELLING)

__all__ = ["PEERS", "Peer", "measure"]
