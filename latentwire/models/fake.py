"""Tiny random models of real architectures, for tests and dry runs without weights or network.

`fake-llama` and `fake-gemma` differ in width, depth, vocabulary, tokenizer, chat template,
embedding scale and sliding window, as real pairs do.
"""

from __future__ import annotations

from typing import Any

import torch

from latentwire.core.errors import UnknownNameError
from latentwire.models.lm import LanguageModel

FAKES = ("fake-gemma", "fake-llama")

_CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def fake_model(name: str, seed: int = 0) -> LanguageModel:
    """Return a random model of about 100,000 parameters, determined by name and seed.

    Raises: UnknownNameError: If there is no fake model of that name.
    """
    if name not in FAKES:
        raise UnknownNameError.of("fake model", name, FAKES)
    from transformers import Gemma3ForCausalLM, LlamaForCausalLM

    gemma = name == "fake-gemma"
    tokenizer = _tokenizer(merges=gemma, chat=not gemma)
    config = _gemma_config(len(tokenizer)) if gemma else _llama_config(len(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + (1 if gemma else 0))
        model = Gemma3ForCausalLM(config) if gemma else LlamaForCausalLM(config)
    return LanguageModel(name, model.float(), tokenizer)


def _llama_config(vocab_size: int) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def _gemma_config(vocab_size: int) -> Any:
    from transformers import Gemma3TextConfig

    return Gemma3TextConfig(
        vocab_size=vocab_size,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        max_position_embeddings=512,
        sliding_window=64,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def _tokenizer(*, merges: bool, chat: bool) -> Any:
    """Return a byte-level tokenizer; with `merges`, it has tokens of several characters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = ["<s>", "</s>"] + (["<|user|>", "<|assistant|>", "<|end|>"] if chat else [])
    vocabulary = {token: i for i, token in enumerate(specials)}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    pairs: list[tuple[str, str]] = []
    if merges:
        pairs = [("t", "h"), ("th", "e"), ("i", "n"), ("e", "r"), ("Ġ", "a"), ("o", "n")]
        for left, right in pairs:
            vocabulary.setdefault(left + right, len(vocabulary))
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    if not chat:
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="<|end|>" if chat else "</s>",
        pad_token="</s>",
        additional_special_tokens=specials[2:],
    )
    if chat:
        tokenizer.chat_template = _CHAT
    return tokenizer
