"""The rival: a RoPE-SwiGLU transformer, tuned with the same care as the models it is compared with."""

from baseline.transformer import SelfAttention, Transformer

__all__ = ["SelfAttention", "Transformer"]
