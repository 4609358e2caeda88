# FedAdagrad. The server takes an Adagrad step along the clients' mean change; they train with FL_CLIENT_LR.
# 3 nodes: oneflower up --context examples/strategies/fedadagrad.sh --nodes 3
FL_USE_CASE='image-classification'
FL_STRATEGY='FedAdagrad'
FL_SERVER_LR='0.1'
FL_CLIENT_LR='0.1'
FL_NUM_ROUNDS='5'
FL_MIN_FIT_CLIENTS='3'
FL_MIN_EVALUATE_CLIENTS='3'
FL_MIN_AVAILABLE_CLIENTS='3'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_SEED='42'
