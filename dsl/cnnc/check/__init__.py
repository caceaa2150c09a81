"""What must hold of a network, and what it costs: structure, shapes, counts, receptive fields, stated facts."""

from cnnc.check.checker import Checked, check
from cnnc.check.facts import LayerFacts, Totals

__all__ = ["Checked", "LayerFacts", "Totals", "check"]
