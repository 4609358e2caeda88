"""A tiny BERT with Hugging Face's Trainer on texts that it makes itself."""
