"""A stock Flower app, before oneflower."""
