"""The rival: a RoPE-SwiGLU transformer, tuned with the same care as the models it is compared with."""

from baseline.cross_attention import CrossAttention
from baseline.transformer import SelfAttention, Transformer
from baseline.translator import TransformerTranslator

__all__ = ["CrossAttention", "SelfAttention", "Transformer", "TransformerTranslator"]
