"""The embedded default: a real SuperLink and real SuperNodes on this machine."""
