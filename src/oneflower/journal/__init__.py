"""The training's journal: append-only JSON lines that everything which reports reads."""
