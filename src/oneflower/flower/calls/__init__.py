"""What happens around the call of a ClientApp: the control record, seeds, the proximal term, kept state."""
