"""A frozen causal language model with a LoRA adapter on its attention."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from oneflower.errors import AppError
from oneflower.language_models import base_model_folder
from oneflower.sdk.client import set_determinism
from oneflower.sdk.device import BF16, FLOAT32, PROCESSOR
from oneflower.sdk.options import option, training_config

# No model hub at run time: a model is a folder, and a mistyped name must not cause a download.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

IGNORED = -100
"""The label that the loss ignores: prompts and padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """LoRA's rank, scale and target modules: server and clients must agree on them."""

    rank: int
    alpha: int
    targets: tuple[str, ...]

    @classmethod
    def from_run_config(cls, run_config: Mapping[str, object]) -> "Adapter":
        """Read `lora-rank`, `lora-alpha` and `lora-targets`."""
        targets = option(run_config, "lora-targets", "q_proj,v_proj")
        return cls(
            rank=option(run_config, "lora-rank", 8, at_least=1),
            alpha=option(run_config, "lora-alpha", 16, at_least=1),
            targets=tuple(name.strip() for name in targets.split(",") if name.strip()),
        )

    def described(self) -> dict[str, str]:
        """Return the fields that a checkpoint's manifest needs to export the adapter."""
        return {
            "lora-rank": str(self.rank),
            "lora-alpha": str(self.alpha),
            "lora-targets": ",".join(self.targets),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Tokens int64 (N, length), their mask, and labels without the prompt."""

    tokens: Tensor
    mask: Tensor
    labels: Tensor

    def to(self, on: torch.device) -> "Batch":
        """Return the batch on a device."""
        return Batch(tokens=self.tokens.to(on), mask=self.mask.to(on), labels=self.labels.to(on))


def base_folder(run_config: Mapping[str, object], node_config: Mapping[str, object] | None = None) -> Path:
    """Return the base model's folder: the node's `base-model`, the run's (FL_BASE_MODEL), or the cache."""
    own = option(node_config or {}, "base-model", "")
    return base_model_folder(Path(own or training_config(run_config).base_model))


def precision(run_config: Mapping[str, object]) -> str:
    """Read `precision`: float32, or bf16 for a base model in bfloat16 where the GPU has it."""
    return option(run_config, "precision", FLOAT32, choices=(FLOAT32, BF16))


def adapted_model(
    folder: Path,
    adapter: Adapter,
    seed: int,
    on: torch.device = PROCESSOR,
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """Load the base model, freeze it, and add an adapter with initial weights from the run's seed.

    The base has the `dtype`; the adapter, which is trained and sent, is always float32.
    """
    peft, transformers = _libraries()
    set_determinism(seed, 0, 0)
    try:
        base = transformers.AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype)
        config = peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=adapter.rank,
            lora_alpha=adapter.alpha,
            target_modules=list(adapter.targets),
            lora_dropout=0.0,
        )
        model: nn.Module = peft.get_peft_model(base, config)
    except (OSError, ValueError) as error:
        raise AppError(
            f"{folder} with LoRA on {', '.join(adapter.targets)} cannot be built: {error}. Expected a causal "
            f"language model that has these modules: fix base-model or lora-targets"
        ) from error
    return model.to(on)


def tokenizer_of(folder: Path) -> Any:
    """Load the tokenizer in the model's folder."""
    _, transformers = _libraries()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError) as error:
        raise AppError(
            f"{folder} has no tokenizer that can be loaded: {error}. Expected the files that save_pretrained "
            f"writes: fetch or save the model again"
        ) from error
    if tokenizer.eos_token_id is None:
        raise AppError(f"the tokenizer of {folder} has no end-of-text token; set eos_token and save it again")
    return tokenizer


def batch_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean cross-entropy over the tokens of the replies."""
    batch = batch.to(next(model.parameters()).device)
    logits = model(input_ids=batch.tokens, attention_mask=batch.mask).logits
    return nn.functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=IGNORED
    )


@torch.no_grad()
def mean_loss(model: nn.Module, batches: list[Batch]) -> float:
    """Return the mean cross-entropy over all reply tokens of all batches."""
    model.eval()
    total, count = 0.0, 0
    for batch in batches:
        tokens = int((batch.labels[:, 1:] != IGNORED).sum())
        total += float(batch_loss(model, batch)) * tokens
        count += tokens
    return total / count


def _libraries() -> tuple[Any, Any]:
    try:
        import peft  # noqa: PLC0415  takes seconds to import; a missing package gives a clear error
        import transformers  # noqa: PLC0415
    except ImportError as error:
        raise AppError(
            f"fine-tuning needs transformers and peft: {error}. Run pip install 'oneflower[apps,llm]'"
        ) from error
    untyped: Any = transformers
    untyped.utils.logging.disable_progress_bar()
    return peft, untyped
