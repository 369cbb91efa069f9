"""Models of known shapes with random weights, to measure speed and memory.

Nothing is downloaded. The shapes are built in, and in the tokenizer every word is one token, so
that a text of n words has n tokens for both models of a pair.
"""

from __future__ import annotations

import itertools
from string import ascii_lowercase
from typing import Any

import torch

from latentwire.core.errors import UnknownNameError, UsageError
from latentwire.models.lm import LanguageModel
from latentwire.models.loading import pick_device, pick_dtype

_SPECIALS = ("<unk>", "<s>", "</s>")

# From the models' config.json, without keys that do not affect speed.
SHAPES: dict[str, dict[str, Any]] = {
    "meta-llama/Llama-3.1-8B-Instruct": {
        "model_type": "llama",
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
    },
    "meta-llama/Llama-3.2-1B-Instruct": {
        "model_type": "llama",
        "vocab_size": 128_256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131_072,
        "tie_word_embeddings": True,
    },
    "mistralai/Mistral-7B-Instruct-v0.3": {
        "model_type": "mistral",
        "vocab_size": 32_768,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32_768,
        "sliding_window": None,
    },
    "tiny-llama": {
        "model_type": "llama",
        "vocab_size": 1024,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
    },
    "tiny-mistral": {
        "model_type": "mistral",
        "vocab_size": 768,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "sliding_window": None,
    },
}


def random_model(
    name: str, *, device: str = "auto", dtype: str = "auto", seed: int = 0
) -> LanguageModel:
    """Return a model of a built-in shape with random weights.

    Args:
        name: Key of SHAPES.
        device: Device as in `load_model`.
        dtype: Dtype as in `load_model`.
        seed: Random seed of the weights.
    Raises:
        UnknownNameError: If there is no shape of that name.
        UsageError: If the device or dtype is not allowed.
    """
    if name not in SHAPES:
        raise UnknownNameError.of("model shape", name, SHAPES)
    from transformers import AutoConfig, AutoModelForCausalLM

    where = pick_device(device)
    config = AutoConfig.for_model(
        **SHAPES[name], bos_token_id=1, eos_token_id=2, pad_token_id=0, use_cache=True
    )
    own = [where] if where.type == "cuda" else []
    # Allocate on the device and in the dtype, without an intermediate copy.
    with torch.random.fork_rng(devices=own), where:
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=pick_dtype(dtype, where))
    return LanguageModel(f"random:{name}", model, word_tokenizer(config.vocab_size))


def random_pair(
    names: str, *, device: str = "auto", dtype: str = "auto"
) -> tuple[LanguageModel, LanguageModel]:
    """Return both models of a pair, given as `SENDER,RECEIVER`.

    Raises:
        UsageError: If `names` is not a pair of names.
        UnknownNameError: If there is no shape of that name.
    """
    parts = [part.strip() for part in names.split(",")]
    if len(parts) != 2 or not all(parts):
        raise UsageError(
            f"--random-weights is '{names}', but must be two shapes: SENDER,RECEIVER. "
            f"Known: {', '.join(sorted(SHAPES))}."
        )
    for part in parts:
        if part not in SHAPES:  # before a large model is allocated
            raise UnknownNameError.of("model shape", part, SHAPES)
    sender, receiver = (
        random_model(part, device=device, dtype=dtype, seed=i) for i, part in enumerate(parts)
    )
    return sender, receiver


def word_tokenizer(vocab_size: int) -> Any:
    """Return a tokenizer of `vocab_size` words: a, b, .. z, aa, ab, ..; others are `<unk>`.

    A text of n tokens from one model therefore has n tokens for the other model.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = itertools.chain.from_iterable(
        itertools.product(ascii_lowercase, repeat=n) for n in itertools.count(1)
    )
    words = itertools.islice(map("".join, letters), vocab_size - len(_SPECIALS))
    core = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate([*_SPECIALS, *words])}, "<unk>")
    )
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
