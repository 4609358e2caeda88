# FedProx. A proximal term keeps the clients near the global model; for data that differ between nodes.
# 3 nodes: oneflower up --context examples/strategies/fedprox.sh --nodes 3
FL_USE_CASE='image-classification'
FL_STRATEGY='FedProx'
FL_PROXIMAL_MU='0.1'
FL_NUM_ROUNDS='5'
FL_MIN_FIT_CLIENTS='3'
FL_MIN_EVALUATE_CLIENTS='3'
FL_MIN_AVAILABLE_CLIENTS='3'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_SEED='42'
