"""The receiver scores and writes as the whole model does on single, unpadded rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from latentwire.core.errors import ShapeError, UsageError
from latentwire.models import MESSAGE_MARK, LanguageModel, Prompt, Receiver, load_model

STATIC = "Labels: dog, cat.\nText: "
TEMPLATE = STATIC + "{}\nLabel:"
TEXTS = ["it barks", "it purrs all day long on the sofa", "?"]
CHOICES = ("the big dog", "cat", "x")
MODELS = pytest.mark.parametrize("name", ["fake-llama", "fake-gemma"])


def _alone(lm: LanguageModel, embedded: torch.Tensor, answer: tuple[int, ...]) -> float:
    """Return the summed log-likelihood of the whole model on one unpadded row."""
    ids = lm.embed(torch.tensor(answer))
    with torch.no_grad():
        logits = lm.model(inputs_embeds=torch.cat([embedded, ids])[None]).logits[0]
    lp, n = logits.log_softmax(-1), len(embedded)
    return float(sum(lp[n - 1 + i, token] for i, token in enumerate(answer)))


@MODELS
@pytest.mark.parametrize("static", ["", STATIC])
def test_score_choices_of_text_prompts_equals_the_whole_model(name: str, static: str) -> None:
    lm = load_model(name)
    prompts = [lm.prompt(TEMPLATE.format(text), static) for text in TEXTS]
    choices = [[lm.answer_ids(p, c) for c in CHOICES] for p in prompts]
    # The chat template's own head is shared even where the prompt's is not.
    assert all(p.n_static > 0 for p in prompts) == (bool(static) or lm.is_chat)
    scores = Receiver(lm).score_choices(prompts, choices)
    for prompt, row, got in zip(prompts, choices, scores):
        embedded = lm.embed(torch.tensor(prompt.before))
        for ids, value in zip(row, got):
            assert float(value) == pytest.approx(_alone(lm, embedded, ids), abs=1e-4)


@MODELS
def test_score_choices_of_soft_tokens_equals_the_whole_model(name: str) -> None:
    lm = load_model(name)
    prompts = [
        lm.prompt(f"Q{'!' * i} about {MESSAGE_MARK}\nLabel:") for i in range(2)
    ]  # of different length
    soft = torch.randn(2, 4, lm.width)
    choices = [[lm.answer_ids(p, c) for c in CHOICES] for p in prompts]
    scores = Receiver(lm).score_choices(prompts, choices, soft)
    for i, prompt in enumerate(prompts):
        before, after = (lm.embed(torch.tensor(ids)) for ids in (prompt.before, prompt.after))
        embedded = torch.cat([before, soft[i], after])
        for ids, value in zip(choices[i], scores[i]):
            assert float(value) == pytest.approx(_alone(lm, embedded, ids), abs=1e-4)


@MODELS
def test_score_choices_ranking_only_is_normalized_over_choices(name: str) -> None:
    lm = load_model(name)
    prompts = [lm.prompt(TEMPLATE.format(text)) for text in TEXTS]
    choices = [[(7,), (9,), (30,)]] * 3
    receiver = Receiver(lm)
    whole = receiver.score_choices(prompts, choices)
    quick = receiver.score_choices(prompts, choices, ranking_only=True)
    for a, b in zip(whole, quick):
        assert torch.allclose(a.log_softmax(-1), b, atol=1e-4)


@MODELS
@pytest.mark.parametrize("static", ["", STATIC])
def test_generate_equals_transformers(name: str, static: str) -> None:
    lm = load_model(name)
    prompts = [lm.prompt(TEMPLATE.format(text), static) for text in TEXTS]
    got = Receiver(lm).generate(prompts, max_new_tokens=6)
    for prompt, ids in zip(prompts, got):
        want = lm.model.generate(
            torch.tensor([prompt.before]), max_new_tokens=6, do_sample=False, pad_token_id=1
        )[0, len(prompt.before) :].tolist()
        stop = lm.tokenizer.eos_token_id
        assert ids == (want[: want.index(stop)] if stop in want else want)


@MODELS
def test_generate_drops_rows_that_have_ended(name: str) -> None:
    lm = load_model(name)
    prompts = [lm.prompt(TEMPLATE.format(text), STATIC) for text in (*TEXTS, "a dog ran")]
    receiver = Receiver(lm)
    lm.__dict__["end_ids"] = ()
    whole = [receiver.generate([prompt], max_new_tokens=8)[0] for prompt in prompts]
    lm.__dict__["end_ids"] = ends = (whole[0][1], whole[1][3])
    expected = [
        ids[: next((i for i, token in enumerate(ids) if token in ends), len(ids))] for ids in whole
    ]
    assert receiver.generate(prompts, max_new_tokens=8) == expected


@MODELS
def test_answer_logits_have_the_gradient_of_the_whole_model(name: str) -> None:
    lm = load_model(name)
    prompt = lm.prompt(STATIC + MESSAGE_MARK + "\nLabel:", STATIC)
    answers = [lm.answer_ids(prompt, "cat"), lm.answer_ids(prompt, "a dog")]
    soft = torch.randn(2, 3, lm.width, requires_grad=True)
    logits, targets = Receiver(lm).answer_logits([prompt] * 2, answers, soft)
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum"
    )
    (quick,) = torch.autograd.grad(loss, soft)
    plain = torch.zeros(())
    for i, answer in enumerate(answers):
        before = lm.embed(torch.tensor(prompt.before))
        after = lm.embed(torch.tensor([*prompt.after, *answer]))
        lp = lm.model(inputs_embeds=torch.cat([before, soft[i], after])[None]).logits[0]
        n = len(before) + 3 + len(prompt.after)
        plain = plain - sum(lp.log_softmax(-1)[n - 1 + j, t] for j, t in enumerate(answer))
    (whole,) = torch.autograd.grad(plain, soft)
    assert torch.allclose(quick, whole, atol=1e-4)


def test_score_choices_beyond_the_sliding_window() -> None:
    lm = load_model("fake-gemma")  # window 64
    prompts = [lm.prompt(TEMPLATE.format(text * 12), STATIC) for text in TEXTS]
    assert max(len(p.before) for p in prompts) > lm.window
    receiver = Receiver(lm)
    scores = receiver.score_choices(prompts, [[(7,), (9,)]] * 3)
    for prompt, got in zip(prompts, scores):
        embedded = lm.embed(torch.tensor(prompt.before))
        assert float(got[0]) == pytest.approx(_alone(lm, embedded, (7,)), abs=1e-4)


@pytest.mark.parametrize("n_start", [13, 40])  # copied for each row, and held once for all
@pytest.mark.parametrize("beyond", [0, 1])
@pytest.mark.parametrize("k", [0, 4])
def test_prompt_start_is_reused_up_to_the_end_of_the_window_and_a_long_one_beyond(
    n_start: int, beyond: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = load_model("fake-gemma")
    choices = [[(40, 41, 42), (43,), (44, 45, 46)]] * 3
    start, after = (0, *range(20, 19 + n_start)), (12, 13)
    n_more = len(choices[0][0]) - 1
    longest = lm.window - n_more - k - len(after) + beyond
    prompts = [
        Prompt((*start, *range(30, 30 + n - n_start)), after, n_start)
        for n in (longest, longest - 7, longest - 12)
    ]
    soft = torch.randn(3, k, lm.width, requires_grad=True) if k else None
    shared, plain, passes = Receiver(lm), Receiver(lm), []
    concatenated = shared._forward_concatenated
    monkeypatch.setattr(
        shared, "_forward_concatenated", lambda *given: passes.append(1) or concatenated(*given)
    )
    unshared = [replace(prompt, n_static=0) for prompt in prompts]
    found = shared.score_choices(prompts, choices, soft)
    assert bool(shared._starts) == (n_start == 40 or not beyond)
    assert bool(passes) == (n_start == 40)
    for got, expected in zip(found, plain.score_choices(unshared, choices, soft)):
        assert torch.allclose(got, expected, atol=1e-4)
    n = n_more + 1
    written = shared.generate(prompts, soft, max_new_tokens=n)
    assert written == plain.generate(unshared, soft, max_new_tokens=n)
    # All choices side by side are more than the window holds; each behind its prompt is not.
    trained = shared.compare_choices(prompts, choices, soft)
    expected = plain.compare_choices(unshared, choices, soft)
    assert torch.allclose(trained, expected, atol=1e-4)
    if soft is not None:
        (got,) = torch.autograd.grad(trained.log_softmax(-1)[:, 0].sum(), soft)
        (want,) = torch.autograd.grad(expected.log_softmax(-1)[:, 0].sum(), soft)
        assert want.abs().max() > 1e-3 and torch.allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("n_start", [50, 63, 64, 65, 150])  # tokens; the window has 64
@pytest.mark.parametrize("sizes", [(9, 4, 1), (45, 44, 43), (30,)])
def test_score_choices_after_a_start_longer_than_the_window(
    n_start: int, sizes: tuple[int, ...]
) -> None:
    lm = load_model("fake-gemma")
    start = [3 + i * 7 % 60 for i in range(n_start)]
    prompts = [Prompt((*start, *range(30, 30 + n)), (), n_start) for n in sizes]
    choices = [[(40, 41, 42), (43,), (44, 45, 46)]] * len(sizes)
    receiver = Receiver(lm)
    found = receiver.score_choices(prompts, choices)
    assert receiver._starts  # the start was read once
    assert receiver.score_choices(prompts, choices)[0].tolist() == found[0].tolist()
    for prompt, row, scores in zip(prompts, choices, found):
        embedded = lm.embed(torch.tensor(prompt.before))
        for ids, value in zip(row, scores):
            assert float(value) == pytest.approx(_alone(lm, embedded, ids), abs=1e-4)


@pytest.mark.parametrize("repeat", [1, 2, 12])  # below, across and beyond the window of 64
def test_score_choices_of_long_choices_after_long_prompts(repeat: int) -> None:
    lm = load_model("fake-gemma")
    prompts = [lm.prompt(TEMPLATE.format(text * repeat), STATIC) for text in TEXTS]
    words = [["a cat", "x", "the very big old dog"], ["no", "yes"], ["cats and dogs", "dogs"]]
    choices = [[lm.answer_ids(p, word) for word in row] for p, row in zip(prompts, words)]
    for soft in (None, torch.randn(3, 4, lm.width)):
        if soft is not None:
            prompts = [lm.prompt(f"{text * repeat} {MESSAGE_MARK}\nLabel:") for text in TEXTS]
        scores = Receiver(lm).score_choices(prompts, choices, soft)
        for i, (prompt, row) in enumerate(zip(prompts, choices)):
            before, after = (
                lm.embed(torch.tensor(part).long()) for part in (prompt.before, prompt.after)
            )
            middle = [] if soft is None else [soft[i]]
            embedded = torch.cat([before, *middle, after])
            for ids, value in zip(row, scores[i]):
                assert float(value) == pytest.approx(_alone(lm, embedded, ids), abs=1e-4)


def test_prompt_has_the_chat_template_or_bos() -> None:
    chat, base = load_model("fake-llama"), load_model("fake-gemma")
    decode: Any = chat.tokenizer.decode
    assert decode(chat.prompt("hi").before) == "<|user|>hi<|end|><|assistant|>"
    assert base.prompt("hi").before[0] == base.tokenizer.bos_token_id
    assert chat.answer_ids(chat.prompt("hi"), "dog") == tuple(chat.token_ids("dog"))
    assert base.answer_ids(base.prompt("hi"), "dog") == tuple(base.token_ids(" dog"))


def test_truncate_counts_tokens() -> None:
    lm = load_model("fake-gemma")
    text = "the wind in the trees " * 4
    cut, was_cut = lm.truncate(text, 20)
    assert was_cut and text.startswith(cut) and len(lm.token_ids(cut)) <= 20
    assert lm.truncate("short", 20) == ("short", False)


def test_score_choices_refuses_wrong_widths_and_empty_choices() -> None:
    lm = load_model("fake-llama")
    prompt = lm.prompt(MESSAGE_MARK + "\nLabel:")
    with pytest.raises(ShapeError, match="width 5"):
        Receiver(lm).score_choices([prompt], [[(1,)]], torch.zeros(1, 2, 5))
    with pytest.raises(UsageError, match="choice is empty"):
        Receiver(lm).score_choices([prompt], [[()]])
