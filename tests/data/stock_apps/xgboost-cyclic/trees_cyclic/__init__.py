"""XGBoost passed from client to client."""
