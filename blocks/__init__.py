"""Parts that two models or more share: rotary phases, SwiGLU, and the pre-norm decoder shell."""

from blocks.decoder import Decoder, DecoderBlock
from blocks.rotary import Rotary
from blocks.swiglu import SwiGLU

__all__ = ["Decoder", "DecoderBlock", "Rotary", "SwiGLU"]
