"""Frustrated Synchronization Network (arXiv 2606.18694): attention as coupling of phase oscillators."""

from fsn.attention import SynchronizationAttention
from fsn.coupling import coupling_function, coupling_kernel
from fsn.modes import CollectiveModes
from fsn.network import FSN
from fsn.translator import FSNTranslator

__all__ = [
    "FSN",
    "CollectiveModes",
    "FSNTranslator",
    "SynchronizationAttention",
    "coupling_function",
    "coupling_kernel",
]
