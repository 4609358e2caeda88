"""A mod that keeps the times of its calls, and one that rounds what is sent."""

import time

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message


def timed(msg: Message, context: Context, call_next) -> Message:
    """Count the calls in the client's state, and add the count to the reply."""
    began = time.perf_counter()
    reply = call_next(msg, context)
    calls = context.state.config_records.setdefault("timed", ConfigRecord({"calls": 0}))
    calls["calls"] += 1
    if reply.has_content():
        reply.content["metrics"]["calls"] = calls["calls"]
        print(f"call {calls['calls']} took {time.perf_counter() - began:.3f} s")
    return reply


def rounded(msg: Message, context: Context, call_next) -> Message:
    reply = call_next(msg, context)
    if reply.has_content() and "arrays" in reply.content:
        arrays = {name: each.numpy() for name, each in reply.content["arrays"].items()}
        reply.content["arrays"] = ArrayRecord(
            {name: Array(np.round(values, 4)) for name, values in arrays.items()}
        )
    return reply
