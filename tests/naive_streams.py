"""Slow forms of what is done to rows that come in batches: plain loops, nothing of ours."""

from __future__ import annotations

WORD = 1 << 64


def row_key(number, seed):
    """The key of a row: splitmix64 of number and seed, without its lowest bit."""
    golden = 0x9E3779B97F4A7C15
    word = (number + seed * golden + 1) * golden % WORD
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % WORD
    return min((word ^ (word >> 31)) >> 1, 2**63 - 2)


def sampled(numbers, seed, size):
    """Places of the rows that stay, those of smallest keys first."""
    keys = [row_key(int(number), seed) for number in numbers]
    return sorted(range(len(keys)), key=lambda place: (keys[place], place))[:size]
