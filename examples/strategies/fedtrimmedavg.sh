# FedTrimmedAvg. Trimmed mean: per coordinate, the largest and the smallest fifth of the values are discarded.
# 5 nodes: oneflower up --context examples/strategies/fedtrimmedavg.sh --nodes 5
FL_USE_CASE='image-classification'
FL_STRATEGY='FedTrimmedAvg'
FL_TRIM_BETA='0.2'
FL_NUM_ROUNDS='5'
FL_MIN_FIT_CLIENTS='5'
FL_MIN_EVALUATE_CLIENTS='5'
FL_MIN_AVAILABLE_CLIENTS='5'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_SEED='42'
