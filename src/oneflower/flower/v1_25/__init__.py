"""What is written for Flower 1.25.0 alone; imported only after the installed version was checked."""
