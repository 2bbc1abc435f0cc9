"""onnxpipe's own session and the tokenizer, with no pipeline around them: what is least for one short text."""

from __future__ import annotations

from perf.peers.onnxpipe import classify_texts as classify_texts

NAME, PACKAGE = "bare graph", "onnxpipe"
ENVIRONMENT = "onnxpipe"
