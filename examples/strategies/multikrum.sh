# MultiKrum. The mean of the n - f models nearest to the others; for data that differ between nodes.
# 5 nodes: oneflower up --context examples/strategies/multikrum.sh --nodes 5
FL_USE_CASE='image-classification'
FL_STRATEGY='MultiKrum'
FL_NUM_MALICIOUS='1'
FL_NUM_ROUNDS='5'
FL_MIN_FIT_CLIENTS='5'
FL_MIN_EVALUATE_CLIENTS='5'
FL_MIN_AVAILABLE_CLIENTS='5'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_SEED='42'
