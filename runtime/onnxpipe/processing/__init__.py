"""Raw input to arrays and back: tokenizers, pooling, scores. No model in here."""

from onnxpipe.processing.encoding import BatchEncoding
from onnxpipe.processing.tokenizer import AutoTokenizer, Tokenizer

__all__ = ["AutoTokenizer", "BatchEncoding", "Tokenizer"]
