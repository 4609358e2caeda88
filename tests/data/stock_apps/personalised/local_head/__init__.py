"""A shared body and a head that each client keeps for itself."""
