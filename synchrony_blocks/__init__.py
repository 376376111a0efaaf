"""Parts that two models or more share: rotary phases, SwiGLU, the pre-norm decoder shell, and that of a translator."""

from synchrony_blocks.cache import MemoryCache, TokenBuffer
from synchrony_blocks.decoder import Decoder, DecoderBlock
from synchrony_blocks.rotary import Rotary
from synchrony_blocks.swiglu import SwiGLU
from synchrony_blocks.translator import Translator, reorder

__all__ = ["Decoder", "DecoderBlock", "MemoryCache", "Rotary", "SwiGLU", "TokenBuffer", "Translator", "reorder"]
