"""Finds the layers that cost a quantised net its accuracy, by their feature maps and by the effect of each alone."""
