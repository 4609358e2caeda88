"""SCAFFOLD: control variates on the server and in each client's state."""
