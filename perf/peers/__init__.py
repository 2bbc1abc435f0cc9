"""One adapter a peer: `load(task, model, dtype)` returns a function from texts to answers."""
