"""Models of a known shape and random weights: speed and memory do not depend on what weights say.

Nothing is downloaded or read: shapes are built in, and a tokenizer is made whose every word is one
token, so that a text of n words has n tokens for either model.
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

# As in each model's own config.json; what is not here does not change its speed.
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
    """A model of a built-in shape with random weights, made where it will run and in its dtype.

    Args:
        name: One of SHAPES.
        device: As in `load_model`.
        dtype: As in `load_model`.
        seed: Of the weights.
    Raises: UnknownNameError: If there is no such shape; UsageError: As `load_model` does.
    """
    if name not in SHAPES:
        raise UnknownNameError.of("model shape", name, SHAPES)
    from transformers import AutoConfig, AutoModelForCausalLM

    where = pick_device(device)
    config = AutoConfig.for_model(
        **SHAPES[name], bos_token_id=1, eos_token_id=2, pad_token_id=0, use_cache=True
    )
    own = [where] if where.type == "cuda" else []
    # No copy elsewhere first, no float32 on the way.
    with torch.random.fork_rng(devices=own), where:
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=pick_dtype(dtype, where))
    return LanguageModel(f"random:{name}", model, word_tokenizer(config.vocab_size))


def random_pair(
    names: str, *, device: str = "auto", dtype: str = "auto"
) -> tuple[LanguageModel, LanguageModel]:
    """Both models of a pair, named as `SENDER,RECEIVER`.

    Raises: UsageError: If these are not two names; UnknownNameError: If one is no built-in shape.
    """
    parts = [part.strip() for part in names.split(",")]
    if len(parts) != 2 or not all(parts):
        raise UsageError(
            f"--random-weights wants two shapes, SENDER,RECEIVER; it was given '{names}'. "
            f"Known: {', '.join(sorted(SHAPES))}."
        )
    for part in parts:
        if part not in SHAPES:  # told before a large model is made
            raise UnknownNameError.of("model shape", part, SHAPES)
    sender, receiver = (
        random_model(part, device=device, dtype=dtype, seed=i) for i, part in enumerate(parts)
    )
    return sender, receiver


def word_tokenizer(vocab_size: int) -> Any:
    """A tokenizer of `vocab_size` words: a, b, .. z, aa, ab, ..; any other word is `<unk>`.

    A relay of n tokens is then n tokens for its reader, too, whatever a random model writes.
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
