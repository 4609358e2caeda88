# FedMedian. The median of every coordinate; tolerates malicious clients as long as they are a minority.
# 5 nodes: oneflower up --context examples/strategies/fedmedian.sh --nodes 5
FL_USE_CASE='image-classification'
FL_STRATEGY='FedMedian'
FL_NUM_ROUNDS='5'
FL_MIN_FIT_CLIENTS='5'
FL_MIN_EVALUATE_CLIENTS='5'
FL_MIN_AVAILABLE_CLIENTS='5'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_SEED='42'
