# FedAvgM. Federated averaging with momentum on the server; for data that differ between nodes.
# 3 nodes: oneflower up --context examples/strategies/fedavgm.sh --nodes 3
FL_USE_CASE='image-classification'
FL_STRATEGY='FedAvgM'
FL_SERVER_LR='1.0'
FL_SERVER_MOMENTUM='0.5'
FL_NUM_ROUNDS='5'
FL_MIN_FIT_CLIENTS='3'
FL_MIN_EVALUATE_CLIENTS='3'
FL_MIN_AVAILABLE_CLIENTS='3'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_SEED='42'
