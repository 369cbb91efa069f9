"""Untrained baselines piece by piece: what is shown, sent, pruned and weighed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from latentwire import Task, Wire
from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.data.metrics import Response
from latentwire.eval.context import Context
from latentwire.eval.method import Prediction
from latentwire.methods.both_models import Ensemble, Routing, mix
from latentwire.methods.compressed_text import CompressedText, inverse_document_frequencies, prune
from latentwire.methods.fewshot import FewShotSender
from latentwire.methods.handoff import HandoffPrompt, answer_handoff
from latentwire.methods.label_calibration import log_probabilities
from latentwire.methods.label_prompts import correct_label
from latentwire.methods.linear_probe import LinearProbe
from latentwire.methods.prompt_choice import PLAIN, PromptChoice, ReaderPrompt
from latentwire.methods.same_bytes_text import SameBytesText, cut_bytes
from latentwire.methods.sender_label import OracleLabel, SenderLabel
from latentwire.methods.text_relay import TextRelay
from latentwire.methods.zeroshot import ZeroShot
from latentwire.models import Receiver

SILENT = Progress()


def changed(task: Task, **keys: Any) -> Task:
    return Task(task.spec.model_copy(update=keys), task.base)


# -- labels as text ---------------------------------------------------------------------------


def test_long_labels_leave_no_room(context: Callable[..., Context]) -> None:
    long = changed(context().task, labels=["red" * 90, "blue" * 70])
    with pytest.raises(
        UsageError, match="one example of each label does not fit into any prompt of 'colours'"
    ):
        FewShotSender(context(long)).prepare(SILENT)
    label = SenderLabel(context(long))
    label.prepare(SILENT)
    assert "fewshot_sender" in label.settings()["left_out"]
    assert set(label.settings()["val_score_by_source"]) == {"zeroshot_sender", "linear_probe"}
    with pytest.raises(UsageError, match="shots of fewshot_sender must be 1 or more"):
        FewShotSender(context(), shots=0)


@pytest.mark.parametrize("best", ["zeroshot_sender", "fewshot_sender", "linear_probe"])
def test_the_label_of_the_best_source_is_sent(context: Callable[..., Context], best: str) -> None:
    given = context()
    method = SenderLabel(given)
    val, test = method.source_val(), given.task.split("test")[:6]
    assert len(val) > len(given.prompt_val())
    right = {
        "zeroshot_sender": lambda e: 0,
        "fewshot_sender": lambda e: 1,
        "linear_probe": lambda e: e.target and None,  # cannot be read
    }
    right[best] = lambda e: e.target
    for name, said in right.items():
        for examples in (val, test):
            kept = [
                Prediction(e.id, said(e), e.target or 0, None, values={"acc": said(e) == e.target})
                for e in examples
            ]
            given.methods.remember(name, examples, kept)
    method.prepare(SILENT)
    assert method.settings()["source"] == best
    assert method.settings()["val_score_by_source"][best] == 1
    for example, p in zip(test, method.predict(test, SILENT)):
        assert p.text == example.references[0] and p.n_bytes == len(p.text)


def test_of_equal_sources_the_label_is_the_probes(context: Callable[..., Context]) -> None:
    method = SenderLabel(context())
    val = method.source_val()
    kept = [Prediction(e.id, e.target, e.target or 0, None, values={"acc": 1.0}) for e in val]
    for name in method.sources:
        method.context.methods.remember(name, val, kept)
    method.prepare(SILENT)
    assert set(method.settings()["val_score_by_source"].values()) == {1.0}
    assert method.settings()["source"] == "linear_probe"


def test_the_right_label_is_sent_and_read(context: Callable[..., Context]) -> None:
    given = context()
    method = OracleLabel(given)
    method.prepare(SILENT)
    test = given.task.split("test")[:6]
    assert [p.text for p in method.predict(test, SILENT)] == [e.references[0] for e in test]
    assert len({each.prompt for each in method.prompts}) == len(given.task.prompts) + 4
    assert method.choice == PromptChoice.best(method.choice.on_val)
    assert len(method.settings()["val_score"]) == len(method.prompts)
    letters = changed(given.task, kind="letter")
    assert [correct_label(letters, e) for e in test] == ["AB"[e.target or 0] for e in test]
    written = Example("1", "x", "", (), None, ("Oslo", "Christiania"))
    assert correct_label(given.task, written) == "Oslo"


def test_ways_to_hand_a_label(context: Callable[..., Context], pair: Wire) -> None:
    lm = pair.receiver.lm
    example = context().task.split("val")[0]
    said = {}
    for setting in ("blind", "shared"):
        given = context(setting=setting)
        for each in OracleLabel(given).prompts:
            text = each.form.replace("{text}", "red")
            prompt = given.prompt_builder(lm, each.prompt).build_handoff(example, text)[0].prompt
            read = lm.tokenizer.decode(list(prompt.before), skip_special_tokens=True)
            said[setting, each] = read
            assert "red" in read and (example.context in read) == (setting == "shared")
    assert "The right answer is red.\nQuestion: What is the right answer?\nAnswer:" in said.values()
    assert (
        "Note: red\nAnswer: red\n\nNote: blue\nAnswer: blue\n\nNote: red\nAnswer:" in said.values()
    )
    (formed,) = [w for w in OracleLabel(given).prompts if w.form != "{text}"][:1]
    (found,) = answer_handoff(given, formed, [example], ["red"], SILENT, "")
    whole = formed.form.replace("{text}", "red")
    (wanted,) = answer_handoff(given, HandoffPrompt(formed.prompt), [example], [whole], SILENT, "")
    assert found.scores == wanted.scores and (found.text, found.n_bytes) == ("red", 3)
    told = f"The right answer is red.\n{example.context}\nIts colour is"
    prompt = HandoffPrompt("{context}\nIts colour is", "The right answer is {text}.")
    assert said["shared", prompt] == told


# -- relays -----------------------------------------------------------------------------------


def test_a_relay_tries_nine_pairs_and_keeps_its_length(context: Callable[..., Context]) -> None:
    given = context()
    method = given.methods.prepared("text_relay", SILENT)
    assert isinstance(method, TextRelay)
    assert len(method.settings()["val_score"]) == 9 and method.settings()["relay_tokens"] == 6
    test = given.task.split("test")[:6]
    short = [p.text or "" for p in method.predict(test, SILENT)]
    longer = context(options={"relay_tokens": 12}).methods.prepared("text_relay", SILENT)
    assert isinstance(longer, TextRelay)
    longer.choice = method.choice
    long = [p.text or "" for p in longer.predict(test, SILENT)]
    assert all(b.startswith(a) for a, b in zip(short, long)) and short != long


def test_thinking_prompts_hold_the_whole_task(context: Callable[..., Context]) -> None:
    given = context()
    method = given.methods.prepared("cot_relay", SILENT)
    assert isinstance(method, TextRelay) and len({*method.relay_prompts}) >= 3
    assert not {*method.relay_prompts} & {*given.task.relay_prompts}
    for prompt in method.relay_prompts:
        assert given.task.sender_prompt_aware in prompt and "tep by step" in prompt
        assert prompt.count("{context}") == 1 and prompt == prompt.rstrip()


def test_a_text_is_written_once(
    context: Callable[..., Context], pair: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = context(wire=pair)
    relay = given.methods.prepared("text_relay", SILENT)
    test, written = given.task.split("test")[:6], []
    write = Receiver.write

    def counted(self: Receiver, prompts: Sequence[Any], *more: Any, **settings: Any) -> list[str]:
        written.append(len(prompts))
        return write(self, prompts, *more, **settings)

    monkeypatch.setattr(Receiver, "write", counted)
    found = relay.predict(test, SILENT)
    short = SameBytesText(given)
    assert short.predict(test, SILENT) == found and sum(written) == 6
    relay.prepare(SILENT)  # all val texts are known, too
    assert sum(written) == 6
    relay.predict(test[:1], SILENT, fresh=True)
    short.predict(test[:1], SILENT, fresh=True)
    assert sum(written) == 8


def test_the_relay_in_a_messages_bytes(context: Callable[..., Context], pair: Wire) -> None:
    given = context(wire=pair, options={"relay_tokens": 8})
    relay = given.methods.prepared("text_relay", SILENT)
    test = given.task.split("test")[:6]
    whole = [p.text or "" for p in relay.predict(test, SILENT)]
    method = SameBytesText(given)
    message = pair.pack(pair.soft_tokens(pair.sender.encode(["fire"], (2,))))[0]
    assert method.budget == len(message.to_bytes())
    method.budget = sorted(len(text.encode()) for text in whole)[3] - 1
    for found in (
        method.predict(test, SILENT),
        [method.predict([e], SILENT, fresh=True)[0] for e in test],
    ):
        for p, text in zip(found, whole):
            assert p.n_bytes == len((p.text or "").encode()) <= method.budget
            assert p.text == cut_bytes(text, method.budget)
    settings = method.settings()
    n_cut = sum(len(text.encode()) > method.budget for text in whole)
    assert 0 < n_cut < 6 and (settings["texts"], settings["texts_cut"]) == (6, n_cut)
    # What is cut is read again: the answer is to the shorter text.
    n_other = sum(a.scores != b.scores for a, b in zip(found, relay.predict(test, SILENT)))
    assert n_other >= n_cut


@pytest.mark.parametrize("budget", range(12))
def test_bytes_are_cut_between_characters(budget: int) -> None:
    text = "aé€😀b"  # 1, 2, 3, 4 and 1 bytes
    cut = cut_bytes(text, budget)
    assert text.startswith(cut) and len(cut.encode()) <= budget
    longer = text[: len(cut) + 1]
    assert longer == cut or len(longer.encode()) > budget


# -- compressed text --------------------------------------------------------------------------


def test_rare_words_are_known_from_training_texts() -> None:
    rarity, unseen = inverse_document_frequencies(
        ["the sea, the sky", "The rain", "the sea's lake"]
    )
    assert 1 == rarity["the"] < rarity["sea"] < rarity["rain"] < unseen
    assert rarity["sea"] == pytest.approx(math.log(4 / 3) + 1)
    assert unseen == pytest.approx(math.log(4) + 1)


def test_the_most_telling_words_stay_in_order() -> None:
    rarity = {"the": 1.0, "of": 1.1, "old": 2.0, "bridge": 3.0, "falls": 4.5, "and": 1.0}
    text = "The old bridge of the old town falls, the bridge!"
    # A word of the text's own counts as often as it appears: bridge 2 x 3, town 1 x 5.
    assert prune(text, 6, rarity, 5.0) == "bridge"
    assert prune(text, 11, rarity, 5.0) == "bridge town"
    assert prune(text, 18, rarity, 5.0) == "bridge town falls,"
    assert prune(text, 4, rarity, 5.0) == "town"  # what does not fit makes room for the next
    assert prune(text, 1, rarity, 5.0) == ""
    assert prune(text, len(text), rarity, 5.0) == text
    assert prune("löwe löwe und", 5, {}, 1.0) == "löwe"


@pytest.mark.parametrize("budget", [1, 7, 12, 64])
def test_compressed_texts_keep_to_the_budget(context: Callable[..., Context], budget: int) -> None:
    given = context(options={"max_bytes": budget})
    method = given.methods.prepared("compressed_text", SILENT)
    assert isinstance(method, CompressedText)
    test = given.task.split("test")[:8]
    for example, p in zip(test, method.predict(test, SILENT)):
        assert p.text is not None and p.n_bytes == len(p.text.encode()) <= budget
        words = iter(example.context.split())
        assert all(word in words for word in p.text.split())  # in their order
        assert (p.text == example.context) == (len(example.context) <= budget)
    assert method.settings()["budget_bytes"] == budget
    assert len(method.settings()["val_score"]) == 3
    with pytest.raises(UsageError, match="must be 1 or more, not 0"):
        CompressedText(context(), max_bytes=0)


# -- both models ------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["acc", "acc_norm"])
def test_extreme_weights_give_back_the_members(
    context: Callable[..., Context], metric: str
) -> None:
    labels = ["red", "blue and green and grey"]
    given = context(changed(context().task, metric=metric, labels=labels))
    method = given.methods.prepared("ensemble", SILENT)
    assert isinstance(method, Ensemble)
    test = list(given.task.split("test"))
    scores = {}
    for name, weight in (("zeroshot_sender", 1.0), ("zeroshot_receiver", 0.0)):
        method.weight = weight
        found, member = method.predict(test, SILENT), given.methods.predictions(name, test, SILENT)
        assert [p.prediction for p in found] == [p.prediction for p in member]
        assert [p.value for p in found] == [p.value for p in member]
        scores[name] = [p.scores for p in found]
        sizes = [len(label) for label in labels] if metric == "acc_norm" else [1, 1]
        for p, m in zip(found, member):
            wanted = [s / n for s, n in zip(m.scores, sizes)]
            assert p.scores[0] - p.scores[1] == pytest.approx(wanted[0] - wanted[1])
    method.weight = 0.5
    for p, a, b in zip(method.predict(test, SILENT), *scores.values()):
        shares = [(math.exp(x) + math.exp(y)) / 2 for x, y in zip(a, b)]
        assert [math.exp(s) for s in p.scores] == pytest.approx(shares)
        assert sum(shares) == pytest.approx(1)


def kept(
    context: Context, name: str, examples: Sequence[Example], scores: Sequence[Sequence[float]]
) -> list[Prediction]:
    """Put answers with these scores in a method's place."""
    found = [
        Prediction.of(context.task, e, Response(tuple(row))) for e, row in zip(examples, scores)
    ]
    context.methods.remember(name, examples, found)
    return found


def test_the_weight_is_the_best_on_val(context: Callable[..., Context]) -> None:
    given = context()
    val = given.prompt_val()
    # The sender is surely wrong on all, the receiver just right: only little weights are right.
    wrong = [[0.0, 1.2] if e.target == 0 else [1.2, 0.0] for e in val]
    right = [[0.6, 0.0] if e.target == 0 else [0.0, 0.6] for e in val]
    kept(given, "zeroshot_sender", val, wrong)
    kept(given, "zeroshot_receiver", val, right)
    method = Ensemble(given)
    method.prepare(SILENT)
    assert method.on_val[0.0] == 1 and method.on_val[1.0] == method.on_val[0.5] == 0
    assert method.weight == max(w for w, score in method.on_val.items() if score == 1) > 0
    assert list(method.settings()["val_score_by_weight"])[:2] == ["0.0", "0.1"]


def test_the_surer_model_answers(context: Callable[..., Context]) -> None:
    given = context()
    val, test = given.prompt_val(), given.task.split("test")[:4]
    for examples in (val, test):
        n = len(examples)
        # High scores are not high confidence: the receiver's are all below the sender's.
        sender = kept(given, "zeroshot_sender", examples, [[3.0, 2.0]] * n)
        sure = list(itertools.islice(itertools.cycle(([-9.0, -7.0], [-9.0, -8.5])), n))
        receiver = kept(given, "zeroshot_receiver", examples, sure)
    method = Routing(given)
    method.prepare(SILENT)
    found = method.predict(test, SILENT)
    assert found == [receiver[0], sender[1], receiver[2], sender[3]]
    assert method.settings()["val_share_of_sender"] == 0.5


def test_shares() -> None:
    assert [math.exp(s) for s in log_probabilities((0.0, math.log(3)))] == pytest.approx(
        [0.25, 0.75]
    )
    assert log_probabilities((-8.0, -6.0), (8, 3)) == pytest.approx(log_probabilities((-1.0, -2.0)))
    assert log_probabilities((math.nan, 0.0)) == (-math.inf, 0.0)
    assert log_probabilities((math.nan, -math.inf)) == pytest.approx((-math.log(2),) * 2)
    assert mix((0.0, -math.inf), (-math.inf, 0.0), 0.3) == pytest.approx(
        (math.log(0.3), math.log(0.7))
    )


def test_sizes_of_what_was_scored(context: Callable[..., Context]) -> None:
    given = context()
    zeroshot = given.methods.prepared("zeroshot_sender", SILENT)
    assert isinstance(zeroshot, ZeroShot)
    example = Example("1", "x", "", ("red", "blue"), 0, ("red",), continuation="is it.")
    assert zeroshot.sizes(example) == (3, 4)
    zeroshot.choice = PromptChoice(ReaderPrompt(PLAIN, "{filled}"))
    assert zeroshot.sizes(example) == (6, 6)


def test_the_probe_is_sure_without_infinities(context: Callable[..., Context]) -> None:
    given = context()
    probe = given.methods.prepared("linear_probe", SILENT)
    assert isinstance(probe, LinearProbe)
    probe.model[-1].coef_ *= 1e6  # probabilities round to 0 and 1
    for p in probe.predict(list(given.task.split("test")), SILENT):
        assert all(math.isfinite(score) for score in p.scores)
        assert max(p.scores) == pytest.approx(0, abs=1e-6)
