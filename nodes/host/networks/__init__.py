"""Networks that the host loads, offloads and counts."""
