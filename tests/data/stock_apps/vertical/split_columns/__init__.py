"""Vertical: each client holds some columns, the server the labels; gradients are pushed, with no reply."""
