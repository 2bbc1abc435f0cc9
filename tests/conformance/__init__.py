"""The conformance suite: every task, family and call, compared with transformers on the zoo's tiny models."""
