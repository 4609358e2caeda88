"""Pairs of a prompt and a reply: the user's own, or the ChatterBot corpus, as tokens for the model."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llm_fine_tuning.model import IGNORED, Batch
from oneflower.errors import AppError
from oneflower.sdk.client import RoundInfo
from oneflower.sdk.data_source import DataSource, package_file
from oneflower.sdk.decoded import cached_arrays
from oneflower.sdk.options import option

PROMPT_NAMES = ("prompt", "instruction")
REPLY_NAMES = ("reply", "response", "output")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One prompt, the reply to learn, and the topic by which pairs are split among clients."""

    prompt: str
    reply: str
    topic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """Tokenisation: maximum sequence length, pairs per batch, maximum pairs per evaluation."""

    max_length: int
    batch_size: int
    evaluation_pairs: int

    @classmethod
    def from_run_config(cls, run_config: Mapping[str, object]) -> "Encoding":
        """Read `max-length`, `batch-size` and `evaluation-pairs`."""
        return cls(
            max_length=option(run_config, "max-length", 64, at_least=8),
            batch_size=option(run_config, "batch-size", 4, at_least=1),
            evaluation_pairs=option(run_config, "evaluation-pairs", 32, at_least=1),
        )


def data_source(
    run_config: Mapping[str, object],
    node_config: Mapping[str, object] | None = None,
    *,
    root_half: bool = False,
) -> DataSource:
    """Find the pairs; shared data is split by topic."""
    return DataSource.from_config(run_config, node_config, shared="group", root_half=root_half)


def held_out_pairs(source: DataSource, seed: int) -> list[Pair]:
    """Return the pairs that the server evaluates on, in an order given by the seed."""
    pairs = load_pairs(source.folder)
    rows = source.held_out(len(pairs), seed)
    return [pairs[row] for row in np.random.default_rng(seed).permutation(rows)]


def root_pairs(source: DataSource, seed: int) -> list[Pair]:
    """Return the pairs that the server trains on, for a strategy that compares updates with its own."""
    pairs = load_pairs(source.folder)
    return [pairs[row] for row in source.root(len(pairs), seed)]


def client_pairs(source: DataSource, info: RoundInfo) -> tuple[list[Pair], list[Pair]]:
    """Return this client's (training, validation) pairs."""
    pairs = load_pairs(source.folder)
    training, validation = source.local(topic_numbers(pairs), info)
    return [pairs[row] for row in training], [pairs[row] for row in validation]


def topic_numbers(pairs: Sequence[Pair]) -> NDArray[np.int64]:
    """Return each pair's topic as an index into the sorted names: int64 (pairs,)."""
    return np.unique([pair.topic for pair in pairs], return_inverse=True)[1].astype(np.int64)


@lru_cache(maxsize=2)
def load_pairs(folder: Path | None) -> tuple[Pair, ...]:
    """Read all .jsonl files of a folder, or the ChatterBot corpus without one.

    Raises
    ------
    AppError
        Nothing is there, or a line is no pair.
    """
    if folder is None:
        return _chatterbot()
    files = sorted(folder.glob("*.jsonl"))
    pairs = tuple(pair for path in files for pair in _read_jsonl(path))
    if not pairs:
        raise AppError(
            f"{folder} holds {len(files)} .jsonl files without a pair; expected a file with a line "
            f'{{"prompt": "...", "reply": "..."}} for each pair. Fix the mounted folder'
        )
    return pairs


def corpus_folder() -> Path | None:
    """Find the English ChatterBot corpus in the package chatterbot-corpus, if that is installed."""
    found = package_file("chatterbot_corpus", "data/english/greetings.yml")
    return None if found is None else found.parent


def _chatterbot() -> tuple[Pair, ...]:
    """Read the first prompt and the first reply of every conversation; a file is a topic."""
    folder = corpus_folder()
    if folder is None:
        raise AppError(
            "no pairs: data-path is empty and the package chatterbot-corpus is not installed. Mount .jsonl "
            "files at data-path, or run pip install --no-deps chatterbot-corpus"
        )
    lines = cached_arrays(_decode_chatterbot, folder)["lines"]
    return tuple(
        Pair(prompt=prompt, reply=reply, topic=topic) for prompt, reply, topic in json.loads(lines.tobytes())
    )


def _decode_chatterbot(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Return prompt, reply and topic of every pair as the bytes of a JSON list."""
    import yaml  # noqa: PLC0415  a dependency of transformers

    pairs = [
        (str(talk[0]), str(talk[1]), path.stem)
        for path in sorted(folder.glob("*.yml"))
        for talk in yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]
        if len(talk) > 1
    ]
    return {"lines": np.frombuffer(json.dumps(pairs).encode(), np.uint8)}


def _read_jsonl(path: Path) -> Iterable[Pair]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AppError(f"{path} cannot be read: {error}. Expected JSON lines in UTF-8") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _pair(line, path, number)


def _pair(line: str, path: Path, number: int) -> Pair:
    try:
        values = json.loads(line)
        prompt, reply = (_text(values, names) for names in (PROMPT_NAMES, REPLY_NAMES))
    except (ValueError, TypeError, AttributeError) as error:
        raise AppError(
            f"{path} line {number} is not a pair ({error}); expected an object with the text "
            f"{' or '.join(PROMPT_NAMES)} and the text {' or '.join(REPLY_NAMES)}. Fix or remove the line"
        ) from error
    more = values.get("input")
    prompt = f"{prompt}\n\n{more}" if more else prompt
    return Pair(prompt=prompt, reply=reply, topic=str(values.get("topic", path.stem)))


def _text(values: Mapping[str, object], names: Sequence[str]) -> str:
    """Return the first text under one of the names, which cover those of other data sets."""
    for name in names:
        value = values.get(name)
        if isinstance(value, str) and value.strip():
            return value
    raise ValueError(f"no text under {' or '.join(names)}")


def encode(tokenizer: Any, pair: Pair, max_length: int) -> tuple[list[int], list[int]]:
    """Return (tokens, labels) of one pair: prompt tokens have no label, the reply ends with end of text.

    A long reply is cut at its end, a long prompt at its beginning; the reply keeps at least half the length.
    """
    if tokenizer.chat_template:
        talk = [{"role": "user", "content": pair.prompt}]
        text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    else:
        text = f"{pair.prompt}\n"
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    reply = [*tokenizer(pair.reply, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    prompt = prompt[-max(max_length // 2, max_length - len(reply)) :]
    reply = reply[: max_length - len(prompt)]
    return [*prompt, *reply], [IGNORED] * len(prompt) + reply


def to_batches(tokenizer: Any, pairs: Sequence[Pair], encoding: Encoding) -> Iterable[Batch]:
    """Yield the pairs in their order, padded at the end to the longest of each batch."""
    for start in range(0, len(pairs), encoding.batch_size):
        some = [
            encode(tokenizer, pair, encoding.max_length)
            for pair in pairs[start : start + encoding.batch_size]
        ]
        length = max(len(tokens) for tokens, _ in some)
        yield Batch(
            tokens=_padded([tokens for tokens, _ in some], length, tokenizer.eos_token_id),
            mask=_padded([[1] * len(tokens) for tokens, _ in some], length, 0),
            labels=_padded([labels for _, labels in some], length, IGNORED),
        )


def _padded(rows: list[list[int]], length: int, filling: int) -> torch.Tensor:
    return torch.tensor([row + [filling] * (length - len(row)) for row in rows])
