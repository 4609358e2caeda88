"""An own loop in main: a query for the sizes, then rounds with send_and_receive."""
