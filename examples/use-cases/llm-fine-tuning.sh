# LoRA on SmolLM2-135M: three rounds, two nodes, each with its own topics; only the adapter is sent.
# Fetch the model once before: oneflower models fetch smollm2-135m
FL_USE_CASE='llm-fine-tuning'
FL_STRATEGY='FedAvg'
FL_NUM_ROUNDS='3'
FL_MIN_FIT_CLIENTS='2'
FL_MIN_EVALUATE_CLIENTS='2'
FL_MIN_AVAILABLE_CLIENTS='2'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_SEED='42'
