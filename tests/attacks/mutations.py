"""Hostile replies from a seed: ordinary ones with something changed, at any level of their objects."""

import json
import random
import struct

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from .attacker import Made, Raw, array, chunk, from_flower, record, reply

NASTY_TEXT = (
    "",
    "\x00",
    "\x1b[2J",
    "é" * 300,
    "a" * 5_000,
    "../../etc/passwd",
    "{}",
    "null",
    "\ud7ff",
    "9" * 5_000,
)
NASTY_NUMBERS = (
    -1,
    0,
    1,
    2**31,
    2**53,
    2**63,
    2**64,
    10**30,
    -(2**63),
    True,
    1.5,
    None,
    float("nan"),
    float("inf"),
)
NASTY_JSON = (
    b"",
    b"this is no json",
    b"[" * 20_000,
    b'{"a":' * 5_000,
    b"[1, 2]",
    b"null",
    b'"text"',
    b"1e400",
    b"9" * 6_000,
    b'{"a": {"b": []}}',
    b"\xff\xfe",
    b'{"\\ud800": "x"}',
)
HEADERS = (
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (8,), }",
    b"{'descr': '|O', 'fortran_order': False, 'shape': (8,), }",
    b"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 4), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (-8,), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 99999999999999999999,), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1," * 1_500 + b"), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 5_000 + b",), }",
    b"{'descr': '<U99', 'fortran_order': False, 'shape': (8,), }",
    b"{'descr': '<f4'" + b"(" * 3_000,
    b"\x00" * 60,
)


GOOD = from_flower(MetricRecord({"num-examples": 10, "loss": 0.5}))
COUNT = from_flower(Array(np.array(0)))


class Mutations:
    """A source of hostile replies; the same seed gives the same ones."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def reply(self, asked, *, src_node_id=1):
        """Return a reply made by hand."""
        rng, given = self.random, {"src_node_id": src_node_id}
        if rng.random() < 0.15:
            given["src_node_id"] = rng.choice((0, 1, 2**63, rng.getrandbits(64)))
        if rng.random() < 0.1:
            given["message_type"] = rng.choice(("evaluate", "query", "train", "system", "", "a.b"))
        if rng.random() < 0.1:
            given["created_at"] = rng.choice((float("nan"), float("inf"), 0.0, -1.0))
        kinds = [self._content, self._content, self._content, self._error, self._nothing, self._wrong_head]
        return rng.choice(kinds)(asked, given)

    # --- messages -----------------------------------------------------------------------------------

    def _content(self, asked, given):
        made = reply(asked, self._records(), **given)
        return self._spoiled(made) if self.random.random() < 0.1 else made

    def _error(self, asked, given):
        code = self.random.choice((-(2**31), -1, 0, 2, 3, 99, 2**31 - 1))
        error = (code, self.random.choice(NASTY_TEXT))
        children = (self._records(),) if self.random.random() < 0.3 else ()
        return reply(asked, *children, error=error, **given)

    def _nothing(self, asked, given):
        children = self.random.choice(
            ((), (self._metrics(), self._metrics()), (self._records(), self._arrays()))
        )
        return reply(asked, *children, **given)

    def _wrong_head(self, asked, given):
        return self.random.choice((self._metrics, self._arrays, self._records, self._array, self._chunk))()

    # --- records ------------------------------------------------------------------------------------

    def _records(self):
        rng = self.random
        children = {"metrics": self._metrics(), "arrays": self._arrays()}
        if rng.random() < 0.2:
            children[rng.choice(NASTY_TEXT)] = self._config()
        if rng.random() < 0.1:
            children |= {f"more{i}": children["metrics"] for i in range(rng.choice((1, 60, 400)))}
        if rng.random() < 0.1:
            children["wrong"] = rng.choice((self._array, self._chunk))()
        made = record(**{str(index): each for index, each in enumerate(children.values())})
        names = {name: child.id for name, child in children.items()}
        return self._spoiled(Made("RecordDict", made.children, self._json(names)))

    def _arrays(self):
        rng = self.random
        if rng.random() < 0.1:
            one = self._array()
            return Made(
                "ArrayRecord", (one,), self._json({f"n{i}": one.id for i in range(rng.choice((3, 5_000)))})
            )
        made = {"w": self._array(), "count": COUNT if rng.random() < 0.9 else self._array()}
        if rng.random() < 0.2:
            made[rng.choice(NASTY_TEXT)] = self._array()
        body = self._json({name: each.id for name, each in made.items()})
        return self._spoiled(Made("ArrayRecord", tuple(dict.fromkeys(made.values())), body))

    def _array(self):
        rng = self.random
        if rng.random() < 0.5:
            return array(chunk(npy(HEADERS[0], 32)), shape=[8])
        chunks = [self._chunk() for _ in range(rng.choice((0, 1, 1, 1, 2, 5)))]
        order = rng.choice(
            (
                None,
                None,
                [0] * rng.choice((1, 3, 2_000, 100_000)),
                [rng.choice(NASTY_NUMBERS)],
                "text",
                [[0]],
                {},
            )
        )
        shape = rng.choice(([8], [8], [], [rng.choice(NASTY_NUMBERS)], [1] * 80, "8", None))
        stype = rng.choice(
            ("numpy.ndarray", "numpy.ndarray", "torch", "oneflower.arrays.1", rng.choice(NASTY_TEXT))
        )
        form = {"dtype": rng.choice(("float32", *NASTY_TEXT)), "shape": shape, "stype": stype}
        form["arraychunk_ids"] = list(range(len(chunks))) if order is None else order
        if rng.random() < 0.1:
            del form[rng.choice(list(form))]
        return self._spoiled(Made("Array", tuple(dict.fromkeys(chunks)), self._json(form)))

    def _chunk(self):
        rng = self.random
        kind = rng.random()
        if kind < 0.5:
            return chunk(
                npy(rng.choice(HEADERS), rng.choice((32, 0, 31, 4_000)), version=rng.choice((1, 2, 3)))
            )
        if kind < 0.6:
            return chunk(npy(HEADERS[0] + b" " * rng.choice((1, 4_000, 60_000)), 32, version=2))
        if kind < 0.7:
            size = rng.choice((1 << 10, 1 << 20))
            return chunk(
                rng.choice((0, 40, 1 << 40, 2**64 - 1)).to_bytes(8, "big")
                + rng.choice(NASTY_JSON)
                + bytes(size)
            )
        return chunk(rng.randbytes(rng.choice((0, 1, 7, 64, 4_096))))

    def _metrics(self):
        rng = self.random
        if rng.random() < 0.5:
            return GOOD
        if rng.random() < 0.2:
            return Made("MetricRecord", (), rng.randbytes(rng.choice((0, 1, 20, 300))))
        values = {
            "num-examples": rng.choice((10, 0, -1, 2**62, float("nan"), float("inf"), 1e300, [1, 2], 10.5))
        }
        values |= {rng.choice(NASTY_TEXT): rng.choice((1.0, float("nan"), [], [1.0] * 100))}
        if rng.random() < 0.1:
            values |= {f"m{i}": 1.0 for i in range(rng.choice((10, 2_000)))}
        return self._spoiled(from_flower(MetricRecord(values)))

    def _config(self):
        rng = self.random
        values = {"name": rng.choice(NASTY_TEXT), "state": [rng.choice(NASTY_TEXT)] * rng.choice((1, 300))}
        made = from_flower(ConfigRecord(values))
        return Made("ConfigRecord", (), rng.randbytes(50)) if rng.random() < 0.2 else made

    # --- what is spoiled ----------------------------------------------------------------------------

    def _json(self, value):
        if self.random.random() < 0.03:
            return self.random.choice(NASTY_JSON)
        return json.dumps(value).encode()

    def _spoiled(self, made):
        """Return an object with wrong bytes or a wrong list of children, or mostly as it is."""
        rng, kind = self.random, self.random.random()
        if kind < 0.96:
            return made
        content = bytearray(made.content)
        if kind < 0.97:
            for _ in range(rng.choice((1, 3, 20))):
                content[rng.randrange(len(content))] = rng.randrange(256)
        elif kind < 0.98:
            del content[rng.randrange(len(content)) :]
        elif kind < 0.99:
            content += rng.randbytes(rng.choice((1, 1_000)))
        else:
            listed = tuple(
                rng.choice((*(each.id for each in made.children), "0" * 64, "x")) for _ in range(3)
            )
            content = bytearray(Made(made.kind, made.children, made.body, listed=listed).content)
        return Raw(made.kind, made.children, bytes(content))


def npy(text, size, *, version=1):
    """Return what might be a NumPy array in its file format."""
    text += b"\n"
    length = struct.pack("<H", min(len(text), 65_535)) if version == 1 else struct.pack("<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + bytes(size)


def model():
    """Return the message of a small model, as the NumPy app sends it."""
    arrays = {"w": Array(np.zeros(8, np.float32)), "count": Array(np.array(0))}
    config = ConfigRecord({"server-round": 1, "seed": 1})
    return RecordDict({"arrays": ArrayRecord(arrays), "config": config})
