# Bulyan. Krum's selection, then a trimmed mean; tolerates one malicious client of seven.
# 7 nodes: oneflower up --context examples/strategies/bulyan.sh --nodes 7
FL_USE_CASE='image-classification'
FL_STRATEGY='Bulyan'
FL_NUM_MALICIOUS='1'
FL_NUM_ROUNDS='5'
FL_MIN_FIT_CLIENTS='7'
FL_MIN_EVALUATE_CLIENTS='7'
FL_MIN_AVAILABLE_CLIENTS='7'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_SEED='42'
