"""Images: loading, preparing for a model, reading its answers, drawing them."""
