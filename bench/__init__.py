"""Measurements of the product, side by side with the bars it is held to: `make bench`."""
