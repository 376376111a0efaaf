"""Parts that two models or more share: rotary phases, SwiGLU, the pre-norm decoder shell, and that of a translator."""

from blocks.cache import MemoryCache, TokenBuffer
from blocks.decoder import Decoder, DecoderBlock
from blocks.rotary import Rotary
from blocks.swiglu import SwiGLU
from blocks.translator import Translator, reorder

__all__ = ["Decoder", "DecoderBlock", "MemoryCache", "Rotary", "SwiGLU", "TokenBuffer", "Translator", "reorder"]
