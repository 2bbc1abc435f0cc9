"""One adapter a peer: `load(workload, model, dtype)` gives a function from texts to answers."""
