"""What an image is drawn to, as an energy for each run."""
