"""Networks that find regions in an image and embed them."""
