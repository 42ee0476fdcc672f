"""Developers' checks of the patch, the prototxt editor and the training, and GPU access for tests and measurements."""
