"""The model in Keras: a small network, whose weights are the arrays."""

import keras
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAvg
from my_stock_app.data import CLASSES, FEATURES, Rows


def new_strategy() -> FedAvg:
    """Return how the clients' arrays become the next global ones."""
    return FedAvg()


def new_model(lr: float = 0.1) -> keras.Model:
    """Build the network."""
    layers = [
        keras.Input((FEATURES,)),
        keras.layers.Dense(16, "relu"),
        keras.layers.Dense(CLASSES, "softmax"),
    ]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(lr), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def initial_arrays() -> ArrayRecord:
    """Return the model before round 1."""
    keras.utils.set_random_seed(1)
    return ArrayRecord(new_model().get_weights())


def fit(arrays: ArrayRecord, rows: Rows, *, lr: float, epochs: int) -> ArrayRecord:
    """Train on rows, starting from the arrays; return the new ones."""
    model = new_model(lr)
    model.set_weights(arrays.to_numpy_ndarrays())
    model.fit(*rows, epochs=epochs, batch_size=32, verbose=0)
    return ArrayRecord(model.get_weights())


def score(arrays: ArrayRecord, rows: Rows) -> tuple[float, float]:
    """Return (loss, accuracy)."""
    model = new_model()
    model.set_weights(arrays.to_numpy_ndarrays())
    loss, accuracy = model.evaluate(*rows, verbose=0)
    return float(loss), float(accuracy)
