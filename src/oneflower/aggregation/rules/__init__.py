"""One module a strategy: its rule and its `SPEC`. A module in this folder is a strategy to choose from."""
