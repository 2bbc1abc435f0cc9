"""Processors of models that take two modalities: a tokenizer beside an image processor or a feature extractor."""
