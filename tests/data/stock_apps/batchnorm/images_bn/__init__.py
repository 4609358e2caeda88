"""A convolutional network with BatchNorm."""
