"""Fine-tuning of a language model: LoRA on pairs of prompts and replies."""
