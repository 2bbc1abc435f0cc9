"""From a loaded model to its graphs: one file a kind of graph."""
