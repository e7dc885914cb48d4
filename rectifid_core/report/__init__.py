"""What happened in a run, as numbers and pictures."""
