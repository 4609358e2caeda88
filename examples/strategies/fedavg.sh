# FedAvg. Federated averaging: the mean of all updates, weighted by their number of examples.
# 3 nodes: oneflower up --context examples/strategies/fedavg.sh --nodes 3
FL_USE_CASE='image-classification'
FL_STRATEGY='FedAvg'
FL_NUM_ROUNDS='5'
FL_MIN_FIT_CLIENTS='3'
FL_MIN_EVALUATE_CLIENTS='3'
FL_MIN_AVAILABLE_CLIENTS='3'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_SEED='42'
