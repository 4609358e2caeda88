"""The embedded default: a real SuperLink and its SuperNodes as processes on this machine."""
