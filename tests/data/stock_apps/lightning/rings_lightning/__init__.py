"""A LightningModule with a Trainer on each client."""
