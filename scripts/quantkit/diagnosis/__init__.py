"""Where a quantised network's accuracy goes: the net in pieces, layer by layer, and each layer alone."""
