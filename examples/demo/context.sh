# The training of `make demo`: five rounds of federated averaging on MNIST images, three nodes.
# OpenNebula writes such a file into a VM; here it is passed to `oneflower up --context`.
FL_USE_CASE='image-classification'
FL_STRATEGY='FedAvg'
FL_NUM_ROUNDS='5'
FL_MIN_FIT_CLIENTS='3'
FL_MIN_EVALUATE_CLIENTS='3'
FL_MIN_AVAILABLE_CLIENTS='3'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_SEED='42'
