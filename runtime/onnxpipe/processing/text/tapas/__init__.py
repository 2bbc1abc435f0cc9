"""TAPAS: a question and a table as tokens with their place in the table, and cells from the model's scores."""
