"""An own loop that pushes messages and pulls the replies as they come."""
