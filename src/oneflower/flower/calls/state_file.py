"""A client's `context.state` as one file: a zip, not compressed, of its arrays and of `records.json`.

`numpy.load` opens it. It is read strictly: nothing is unpickled or unpacked, and nothing is in it but what
its list names. Numbers are written so that they come back as the same bits.
"""

import base64
import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, Final

from oneflower.bounded_json import Bounds, parse_json
from oneflower.flower.api import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

FORMAT: Final = "oneflower.client-state.1"
RECORDS: Final = "records.json"
MOST_ARRAYS: Final = 100_000
_BOUNDS: Final = Bounds(most_bytes=256 << 20, most_values=5_000_000)
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_DTYPE: Final = re.compile("[A-Za-z0-9_]{1,32}")
_MEMBER: Final = "{:06d}.npy"
_DAMAGE: Final = (zipfile.BadZipFile, LookupError, TypeError, AttributeError, NotImplementedError, EOFError)
_KINDS: Final = {"arrays": ArrayRecord, "metrics": MetricRecord, "config": ConfigRecord}


def dumped(state: RecordDict) -> bytes:
    """Return a state as the bytes of its file: the same for the same state."""
    members: list[bytes] = []
    records = [[name, *_dumped_record(record, members)] for name, record in state.items()]
    index = json.dumps({"format": FORMAT, "records": records}, separators=(",", ":")).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(RECORDS, _EPOCH), index)
        for number, data in enumerate(members):
            archive.writestr(zipfile.ZipInfo(_MEMBER.format(number), _EPOCH), data)
    return file.getvalue()


def loaded(data: bytes) -> RecordDict:
    """Return the state in the bytes of a file; ValueError for whatever is wrong with them."""
    try:
        members = _members(data)
        found = parse_json(members.pop(RECORDS), _BOUNDS)
        state = _state(found, members)
    except (
        zipfile.BadZipFile,
        LookupError,
        TypeError,
        AttributeError,
        NotImplementedError,
        EOFError,
    ) as error:
        raise ValueError(f"it is no client state: {error!r:.200}") from error
    if members:
        raise ValueError(f"it holds {len(members)} members that its list does not name")
    return state


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if len(infos) > MOST_ARRAYS + 1:
            raise ValueError(f"it has {len(infos)} members; at most {MOST_ARRAYS + 1} are read")
        if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in infos):
            raise ValueError("a member is compressed or encrypted; expected plain ones")
        if sum(info.file_size for info in infos) > len(data):
            raise ValueError("its members are larger than it is")
        members = {info.filename: archive.read(info) for info in infos}
    if len(members) < len(infos):
        raise ValueError("a member is in it twice")
    return members


def _dumped_record(record: Any, members: list[bytes]) -> tuple[str, list[Any]]:
    if isinstance(record, ArrayRecord):
        rows = []
        for key, array in record.items():
            rows.append([key, array.dtype, list(array.shape), array.stype])
            members.append(array.data)
        return "arrays", rows
    kind = "metrics" if isinstance(record, MetricRecord) else "config"
    return kind, [[key, *_dumped_value(value)] for key, value in record.items()]


def _state(found: Any, members: dict[str, bytes]) -> RecordDict:
    if found["format"] != FORMAT:
        raise ValueError(f"its format is {found['format']!r:.80}; expected {FORMAT}")
    state, number = RecordDict(), 0
    for name, kind, rows in found["records"]:
        if kind not in _KINDS or name in state:
            raise ValueError(f"record {name!r:.80} of kind {kind!r:.80} is not valid, or there twice")
        if kind != "arrays":
            values = {key: _value(tag, value) for key, tag, value in rows}
            state[name] = _KINDS[kind](values)
            continue
        arrays = {}
        for key, dtype, shape, stype in rows:
            data = members.pop(_MEMBER.format(number))
            arrays[key] = _array(dtype, shape, stype, data)
            number += 1
        state[name] = ArrayRecord(arrays)
    return state


def _array(dtype: Any, shape: Any, stype: Any, data: bytes) -> Array:
    is_shape = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    if (
        not isinstance(stype, str)
        or not isinstance(dtype, str)
        or not _DTYPE.fullmatch(dtype)
        or not is_shape
    ):
        raise ValueError(f"an array of dtype {dtype!r:.80} and shape {shape!r:.80} is not valid")
    return Array(dtype=dtype, shape=tuple(shape), stype=stype, data=data)


# --- values: a tag for the type, and what JSON can hold ------------------------------------------------


def _dumped_value(value: Any) -> tuple[str, Any]:
    if isinstance(value, list):
        pairs = [_dumped_value(each) for each in value]
        return f"[{pairs[0][0] if pairs else ''}", [each for _, each in pairs]
    for kind, tag in _TAGS.items():  # NumPy's float64 is a float, too, and comes back as one
        if isinstance(value, kind):
            return tag, _WRITE.get(tag, _same)(kind(value))
    raise ValueError(f"a value of type {type(value).__name__} cannot be kept")


def _value(tag: Any, value: Any) -> Any:
    if tag == "[" and value == []:
        return []
    if tag.startswith("["):
        return [_value(tag[1:], each) for each in value]
    read = _READ[tag](value)
    if _TAGS[type(read)] != tag:
        raise ValueError(f"a value of type {tag!r:.20} is {value!r:.80}")
    return read


def _same(value: Any) -> Any:
    return value


def _float(value: Any) -> float:
    return math.nan if value == "nan" else float.fromhex(value)


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value, validate=True)


_TAGS: Final[Mapping[type, str]] = {bool: "bool", int: "int", float: "float", str: "str", bytes: "bytes"}
_WRITE: Final[Mapping[str, Callable[[Any], Any]]] = {
    "float": float.hex,
    "bytes": lambda value: base64.b64encode(value).decode(),
}
_READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "bool": _same,
    "int": _same,
    "float": _float,
    "str": _same,
    "bytes": _bytes,
}
