"""Tables: read from files, and made of what Python code holds them in."""
