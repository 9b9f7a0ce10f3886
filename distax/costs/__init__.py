"""Costs of compiled programs: operations, traffic and collectives, and the figures of chips."""

from distax.costs.chips import CHIPS, Chip, find_chip, find_peak
from distax.costs.counting import BETWEEN_SLICES, Collective, Cost, cost_of
from distax.costs.hlo import parse

__all__ = [
    "BETWEEN_SLICES",
    "CHIPS",
    "Chip",
    "Collective",
    "Cost",
    "cost_of",
    "find_chip",
    "find_peak",
    "parse",
]
