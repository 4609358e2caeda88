"""Image classification: a convolutional network with batch normalisation."""
