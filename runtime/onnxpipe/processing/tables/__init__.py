"""Tables: read from files, and from what Python code holds them in."""
