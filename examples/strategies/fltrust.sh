# FLTrust. Trusts clients as far as they agree with the app's own training on held-out data.
# 5 nodes: oneflower up --context examples/strategies/fltrust.sh --nodes 5
FL_USE_CASE='image-classification'
FL_STRATEGY='FLTrust'
FL_NUM_ROUNDS='5'
FL_MIN_FIT_CLIENTS='5'
FL_MIN_EVALUATE_CLIENTS='5'
FL_MIN_AVAILABLE_CLIENTS='5'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_SEED='42'
