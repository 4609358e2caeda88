# Robust. Mixes each update with its nearest neighbours, then trims; for uneven data too.
# 5 nodes: oneflower up --context examples/strategies/robust.sh --nodes 5
FL_USE_CASE='image-classification'
FL_STRATEGY='Robust'
FL_NUM_MALICIOUS='1'
FL_NUM_ROUNDS='5'
FL_MIN_FIT_CLIENTS='5'
FL_MIN_EVALUATE_CLIENTS='5'
FL_MIN_AVAILABLE_CLIENTS='5'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_SEED='42'
