"""Model and data."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from sklearn.datasets import load_digits


def load_model():
    keras.backend.clear_session()
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def load_data(partition_id, num_partitions):
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(x))[partition_id::num_partitions]
    x, y = (x[order] / 16).astype("float32"), y[order]
    cut = int(0.8 * len(x))
    return x[:cut], y[:cut], x[cut:], y[cut:]
