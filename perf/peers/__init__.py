"""One module a peer, run in an environment of its own.

A module says what it is called (`NAME`), which package it times (`PACKAGE`), optionally whose environment it shares
(`ENVIRONMENT`) and whose converts checkpoints for it (`CONVERTER`). `convert(checkpoint, task, precision, target)`
makes the peer's own folder of a model; without it the checkpoint is read as it lies. A function named for a task
(`embed`, `classify_texts`, `classify_images`, `generate`, `translate`, `transcribe`) takes the model's folder, the
precision and the number of threads, and returns functions by name; `call` is the one that is timed. Nothing but the
standard library is imported before one of them is called.
"""
