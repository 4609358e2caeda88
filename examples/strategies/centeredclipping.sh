# CenteredClipping. Moves the last model by the mean of changes that are cut to one length; tolerates a minority.
# 5 nodes: oneflower up --context examples/strategies/centeredclipping.sh --nodes 5
FL_USE_CASE='image-classification'
FL_STRATEGY='CenteredClipping'
FL_CLIPPING_RADIUS='0.0'
FL_NUM_ROUNDS='5'
FL_MIN_FIT_CLIENTS='5'
FL_MIN_EVALUATE_CLIENTS='5'
FL_MIN_AVAILABLE_CLIENTS='5'
FL_CHECKPOINT_ENABLED='YES'
FL_CHECKPOINT_INTERVAL='1'
FL_SEED='42'
