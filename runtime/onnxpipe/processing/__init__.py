"""Raw input to arrays and back: tokenizers, pooling, scores. No model in here."""

from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.processing.text.tokenizer import AutoTokenizer, Tokenizer

__all__ = ["AutoTokenizer", "BatchEncoding", "Tokenizer"]
