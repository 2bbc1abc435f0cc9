"""Decisions: typed questions about a state, asked of a language model, whose next token is the answer."""
