"""The language model app, on a tiny random model: data, masking, training, export."""

import gzip
import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from llm_fine_tuning import client, data, model, server
from tiny_model import write_pairs, write_tiny_model

from oneflower.checkpoints import CheckpointReader
from oneflower.errors import AppError, CheckpointError, StateError
from oneflower.lab.localgrid import LocalGrid
from oneflower.language_models import fingerprint
from oneflower.language_models.adapter import export_adapter
from oneflower.sdk.client import RoundInfo
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.torch_app import model_arrays, trained_names

APP = Path(__file__).parents[2] / "apps" / "llm-fine-tuning"
SMALL = {"lora-rank": 2, "lora-alpha": 4, "max-length": 32, "batch-size": 4, "max-steps": 3, "seed": 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def config(base, tmp_path, monkeypatch):
    monkeypatch.delenv("FL_BASE_MODEL", raising=False)
    (tmp_path / "data").mkdir()
    write_pairs(tmp_path / "data" / "pairs.jsonl")
    monkeypatch.setenv("ONEFLOWER_DATA", str(tmp_path / "data"))
    return SMALL | {"base-model": str(base), "checkpoint-path": str(tmp_path / "checkpoints")}


def run(config, rounds=2, nodes=2, **more):
    run_config = config | {"num-server-rounds": rounds, "checkpoint-enabled": True, "checkpoint-interval": 1}
    run_config |= dict.fromkeys(("min-fit-clients", "min-available-clients", "min-evaluate-clients"), nodes)
    run_config |= more
    grid = LocalGrid(client.app, clients=nodes, run_config=run_config)
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config)
    results = []
    real = server.train
    try:
        server.train = lambda *args, **named: results.append(real(*args, **named))
        server.app(grid, context)
    finally:
        server.train = real
    return results[0]


def train_once(config, partition_id=0, **sent):
    adapter = model.Adapter.from_run_config(config)
    net = model.adapted_model(Path(config["base-model"]), adapter, 1)
    values = {"server-round": 1, "seed": 1} | sent
    content = RecordDict({"arrays": model_arrays(net, trained_names(net)), "config": ConfigRecord(values)})
    node = {"partition-id": partition_id, "num-partitions": 2}
    context = Context(run_id=1, node_id=1, node_config=node, state=RecordDict(), run_config=config)
    return client.train(Message(content=content, dst_node_id=1, message_type="train"), context).content


def digest(content):
    arrays = content.array_records["arrays"]
    return hashlib.sha256(b"".join(arrays[name].data for name in sorted(arrays))).hexdigest()


def test_the_apps_own_keys_are_declared_with_the_defaults_in_the_code():
    declared = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert model.Adapter.from_run_config(declared) == model.Adapter.from_run_config({})
    assert data.Encoding.from_run_config(declared) == data.Encoding.from_run_config({})
    assert client.LocalOptions.from_run_config(declared) == client.LocalOptions.from_run_config({})
    assert data.data_source(declared) == data.data_source({})
    assert model.precision(declared) == model.precision({}) == "float32"


def test_a_precision_that_does_not_exist_is_refused_before_round_1(config):
    with pytest.raises(AppError, match=r"precision is 'fp8'; expected float32 or bf16"):
        run(config | {"precision": "fp8"})


def test_in_bf16_the_frozen_base_is_in_it_and_what_is_trained_and_sent_in_float32(config):
    adapter = model.Adapter.from_run_config(config)
    net = model.adapted_model(Path(config["base-model"]), adapter, 1, dtype=torch.bfloat16)
    names = trained_names(net)
    kinds = {name in names: parameter.dtype for name, parameter in net.named_parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}


def test_on_a_processor_bf16_trains_as_float32_does(config):
    assert digest(train_once(config | {"precision": "bf16"})) == digest(train_once(config))


# --- data ------------------------------------------------------------------------------------------


def test_the_chatterbot_corpus_is_the_default_and_its_files_are_the_topics():
    pairs = data.load_pairs(None)
    assert len(pairs) > 2000
    assert len({pair.topic for pair in pairs}) == 21
    assert data.data_source({"data-path": "/nowhere"}).partitioning == "group"


def test_a_topic_is_on_one_client():
    pairs = data.load_pairs(None)
    source = DataSource(folder=None, partitioning="group", alpha=0.5)
    topics = []
    for partition_id in range(2):
        info = RoundInfo(
            round=1, seed=1, lr=None, proximal_mu=0.0, partition_id=partition_id, num_partitions=2
        )
        training, validation = data.client_pairs(source, info)
        topics.append({pair.topic for pair in [*training, *validation]})
    assert not topics[0] & topics[1]
    assert topics[0] | topics[1] == {pair.topic for pair in pairs}


def test_the_keys_of_other_data_sets_are_understood(tmp_path):
    line = {"instruction": "Sort", "input": "b a", "output": "a b"}
    (tmp_path / "alpaca.jsonl").write_text(json.dumps(line) + "\n\n", encoding="utf-8")
    assert data.load_pairs(tmp_path) == (data.Pair(prompt="Sort\n\nb a", reply="a b", topic="alpaca"),)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 1 is not a pair"),
        ('{"prompt": "a"}', "no text under reply or response or output"),
        ('{"prompt": "", "reply": "b"}', "no text under prompt"),
        ('{"prompt": 3, "reply": "b"}', "no text under prompt"),
        ("[1]", "line 1 is not a pair"),
        ("", "without a pair; expected a file"),
    ],
)
def test_a_line_that_is_not_a_pair_is_refused_with_the_reason(tmp_path, line, words):
    (tmp_path / "a.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(AppError, match=words):
        data.load_pairs(tmp_path)


def test_a_file_that_is_not_text_is_refused_with_the_reason(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(b"{}"))
    with pytest.raises(AppError, match="Expected JSON lines in UTF-8"):
        data.load_pairs(tmp_path)


def test_the_loss_is_on_the_reply_and_its_end_only(base):
    tokenizer = model.tokenizer_of(base)
    tokens, labels = data.encode(tokenizer, data.Pair(prompt="hi", reply="yes", topic=""), 64)
    assert tokenizer.decode(tokens) == "[user]hi[assistant]yes<end>"
    assert tokenizer.decode([label for label in labels if label != model.IGNORED]) == "yes<end>"
    assert [a for a, b in zip(tokens, labels, strict=True) if b != model.IGNORED] == labels[-4:]


def test_a_model_without_a_chat_template_gets_the_plain_prompt(tmp_path):
    tokenizer = model.tokenizer_of(write_tiny_model(tmp_path, chat=False))
    tokens, _ = data.encode(tokenizer, data.Pair(prompt="hi", reply="yes", topic=""), 64)
    assert tokenizer.decode(tokens) == "hi\nyes<end>"


@pytest.mark.parametrize(("prompt", "reply"), [(100, 3), (3, 100), (100, 100)])
def test_long_texts_are_cut_so_that_the_reply_keeps_its_half(base, prompt, reply):
    tokenizer = model.tokenizer_of(base)
    pair = data.Pair(prompt="p" * prompt, reply="r" * reply, topic="")
    tokens, labels = data.encode(tokenizer, pair, 40)
    learnt = sum(label != model.IGNORED for label in labels)
    assert len(tokens) == len(labels) == 40
    assert learnt >= min(20, reply + 1)


def test_padding_does_not_change_the_loss(base):
    net = model.adapted_model(base, model.Adapter(rank=2, alpha=4, targets=("q_proj",)), 1)
    tokenizer = model.tokenizer_of(base)
    pairs = [data.Pair(prompt="a" * n, reply="b" * n, topic="") for n in (1, 4, 9)]
    losses = []
    for size in (1, 3):
        encoding = data.Encoding(max_length=64, batch_size=size, evaluation_pairs=9)
        losses.append(model.mean_loss(net, list(data.to_batches(tokenizer, pairs, encoding))))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_every_pair_is_drawn_once_before_any_comes_again():
    pairs = [data.Pair(prompt=str(n), reply="", topic="") for n in range(5)]
    drawn = [pair.prompt for pair in client.draw(pairs, 12, torch.Generator().manual_seed(1))]
    assert sorted(drawn[:5]) == sorted(drawn[5:10]) == list("01234")
    assert len(drawn) == 12


# --- training --------------------------------------------------------------------------------------


def test_only_the_adapter_is_sent(config):
    content = train_once(config)
    names = set(content.array_records["arrays"])
    assert len(names) == 2 * 2 * 2  # two layers, two targets, A and B
    assert all(".lora_" in name for name in names)
    assert content.metric_records["metrics"]["num-examples"] == 12


def test_training_again_gives_the_same_bytes_and_the_servers_values_count(config):
    first = digest(train_once(config))
    torch.manual_seed(9)
    assert digest(train_once(config)) == first
    assert digest(train_once(config, 1)) != first
    assert digest(train_once(config, lr=0.1)) == first
    assert digest(train_once(config, lr=0.01)) != first
    assert digest(train_once(config, **{"proximal-mu": 1.0})) != first


def test_another_base_model_than_the_servers_is_refused(config, tmp_path):
    with pytest.raises(AppError, match="same model: mount the same folder"):
        train_once(config, **{"base-model-sha256": "0" * 64})
    other = write_tiny_model(tmp_path / "other", seed=5)
    assert fingerprint(other) != fingerprint(Path(config["base-model"]))


def test_targets_that_the_model_lacks_are_refused(config):
    with pytest.raises(AppError, match="fix base-model or lora-targets"):
        train_once(config | {"lora-targets": "no_such_module"})


def test_the_held_out_loss_falls_and_the_manifest_names_the_base(config):
    result = run(config | {"learning-rate": 0.3, "max-steps": 10}, rounds=3)
    losses = [result.evaluate_metrics_serverapp[number]["loss"] for number in range(4)]
    assert losses[3] < losses[0] - 0.5
    perplexity = result.evaluate_metrics_serverapp[3]["perplexity"]
    assert perplexity == pytest.approx(np.exp(losses[3]))
    versions = CheckpointReader(Path(config["checkpoint-path"])).latest().versions
    assert versions["base-model"] == "tiny"
    assert versions["base-model-sha256"] == fingerprint(Path(config["base-model"]))
    assert (versions["lora-rank"], versions["lora-alpha"]) == ("2", "4")


def test_a_resume_on_another_base_model_is_refused(config, tmp_path):
    run(config, rounds=1)
    other = write_tiny_model(tmp_path / "tiny", seed=5)
    with pytest.raises(CheckpointError, match="base-model-sha256"):
        run(config | {"base-model": str(other)}, rounds=2)


# --- export ----------------------------------------------------------------------------------------


def test_the_exported_adapter_is_what_was_trained(config, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    result = run(config, rounds=1)
    checkpoint = CheckpointReader(Path(config["checkpoint-path"])).latest()
    base = Path(config["base-model"])
    target = tmp_path / "out" / "adapter"
    export_adapter(checkpoint.arrays, checkpoint.versions, target, base_model=str(base))
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), target)
    trained = model.adapted_model(base, model.Adapter.from_run_config(config), 1)
    model_state = {name: torch.from_numpy(array.numpy()) for name, array in result.arrays.items()}
    trained.load_state_dict(model_state, strict=False)
    tokens = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        torch.testing.assert_close(loaded(tokens).logits, trained(tokens).logits)
        adapted = loaded(tokens).logits
        with loaded.disable_adapter():
            assert not torch.allclose(adapted, loaded(tokens).logits)


def test_a_checkpoint_without_an_adapter_and_an_existing_folder_are_refused(tmp_path):
    versions = {"base-model": "b", "lora-rank": "2", "lora-alpha": "4", "lora-targets": "q_proj"}
    weights = {"m.lora_A.default.weight": np.zeros((2, 2), np.float32)}
    with pytest.raises(AppError, match="its manifest lacks base-model"):
        export_adapter(weights, {}, tmp_path / "a")
    with pytest.raises(AppError, match="other names"):
        export_adapter({"conv.weight": np.zeros(2)}, versions, tmp_path / "a")
    with pytest.raises(StateError, match="exists already"):
        export_adapter(weights, versions, tmp_path)
