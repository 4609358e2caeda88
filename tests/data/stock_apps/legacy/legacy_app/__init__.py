"""The API of before: server_fn, client_fn and a NumPyClient."""
