"""Model and data."""

import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments


def get_model():
    config = BertConfig(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
        num_labels=2,
    )
    return BertForSequenceClassification(config)


def load_data(partition_id, count=64):
    """Texts of eight letters; the label says whether most come from the first half of the alphabet."""
    rng = torch.Generator().manual_seed(partition_id)
    labels = torch.randint(0, 2, (count,), generator=rng)
    letters = torch.randint(0, 16, (count, 8), generator=rng) + 12 * labels[:, None]
    return [{"input_ids": text, "labels": label} for text, label in zip(letters, labels, strict=True)]


def make_trainer(model, data, epochs=1):
    arguments = TrainingArguments(
        output_dir=tempfile.gettempdir(),
        num_train_epochs=epochs,
        per_device_train_batch_size=16,
        learning_rate=5e-3,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    return Trainer(model=model, args=arguments, train_dataset=data, eval_dataset=data)
