"""Selective Synchronization Attention (arXiv 2602.14445): plain PyTorch modules, importable as drop-in layers."""

from ssa.attention import SelectiveSynchronizationAttention
from ssa.network import OSN, OSNBlock
from ssa.published import published
from ssa.start import Positions, Start
from ssa.synchrony import locking_radius
from ssa.translator import OSNTranslator

__all__ = [
    "OSN",
    "OSNBlock",
    "OSNTranslator",
    "Positions",
    "SelectiveSynchronizationAttention",
    "Start",
    "locking_radius",
    "published",
]
