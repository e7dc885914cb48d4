"""Objects and animals: DINO embeds, OWL finds."""
