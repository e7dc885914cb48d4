"""The host's MODEL as the flow of its family."""
