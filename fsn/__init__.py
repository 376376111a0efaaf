"""Frustrated Synchronization Network (arXiv 2606.18694): attention as coupling of phase oscillators."""

from fsn.attention import SynchronizationAttention
from fsn.copying import CopyingHead
from fsn.coupling import coupling_function, coupling_kernel
from fsn.layer import FSNLayer
from fsn.local_coupling import LocalCoupling
from fsn.modes import CollectiveModes
from fsn.network import FSN
from fsn.translator import FSNTranslator

__all__ = [
    "FSN",
    "CollectiveModes",
    "CopyingHead",
    "FSNLayer",
    "FSNTranslator",
    "LocalCoupling",
    "SynchronizationAttention",
    "coupling_function",
    "coupling_kernel",
]
