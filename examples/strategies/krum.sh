# Krum. Selects the one model nearest to the others; tolerates one malicious client of five.
# 5 nodes: oneflower up --context examples/strategies/krum.sh --nodes 5
FL_USE_CASE='image-classification'
FL_STRATEGY='Krum'
FL_NUM_MALICIOUS='1'
FL_NUM_ROUNDS='5'
FL_MIN_FIT_CLIENTS='5'
FL_MIN_EVALUATE_CLIENTS='5'
FL_MIN_AVAILABLE_CLIENTS='5'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_SEED='42'
