"""The stub stages, with one that asks for more memory than its job has."""
