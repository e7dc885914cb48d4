"""Reference images -> an identity."""
