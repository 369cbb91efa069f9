"""Loss expressions, and objectives with trained parameters."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from latentwire.bridge import BRIDGES
from latentwire.core.errors import ConfigError, UnknownNameError
from latentwire.objectives import OBJECTIVES, Loss, LossTerm, Space, parse_loss
from latentwire.train import PRESETS, TrainConfig, get_preset

SPACE = Space(width=8, soft_tokens=2, rms=1.0)


def test_parse_loss_returns_terms() -> None:
    assert parse_loss("answer") == (LossTerm(1.0, "answer"),)
    assert parse_loss(" Answer + 0.5*kd(temperature=2) + 1e-3 * vib") == (
        LossTerm(1.0, "answer"),
        LossTerm(0.5, "kd", {"temperature": 2}),
        LossTerm(0.001, "vib"),
    )
    assert parse_loss("answer+0*kd") == parse_loss("answer")
    assert parse_loss("1e+0*answer+.5*mine(features=16, rate=0.1)")[1].options["features"] == 16


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("answer+kdd", "Did you mean 'kd'"),
        ("", "Cannot parse the loss ''"),
        ("answer+", "Cannot parse"),
        ("answer kd", "Known: answer, diversity"),
        ("answer-kd", "Cannot parse"),
        ("-1*answer", "must be >= 0"),
        ("0*answer", "no term with a weight > 0"),
        ("kd+kd", "twice"),
        ("kd(temp=2)", "no option 'temp'. Its options: temperature=1.0"),
        ("kd(temperature=cold)", "must be a number > 0"),
        ("mine(features=1.5)", "must be a whole number"),
        ("kd(temperature=0)", "> 0"),
    ],
)
def test_parse_loss_explains_mistakes(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_loss(text)
    assert words in str(caught.value)
    with pytest.raises(ConfigError, match=r"train\.loss"):
        TrainConfig.of(loss=text)


def test_contrastive_objectives_need_two_examples() -> None:
    with pytest.raises(ConfigError, match="infonce compares the examples"):
        TrainConfig.of(loss="answer+infonce", batch_size=1)


def test_presets_name_known_bridges_and_losses() -> None:
    for preset in PRESETS.values():
        assert preset.bridge in BRIDGES.names() and parse_loss(preset.loss)
    assert get_preset("Mine").loss == "answer+0.1*mine"
    with pytest.raises(UnknownNameError, match="Did you mean 'mine'"):
        get_preset("mime")


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_objective_has_a_description(name: str) -> None:
    kind = OBJECTIVES.get(name)
    assert kind.kind == name and kind.about and kind.source
    state = torch.get_rng_state()
    Loss([LossTerm(1.0, name)], SPACE)
    assert torch.equal(state, torch.get_rng_state())


def _gaussians(n: int, rho: float, seed: int) -> Any:
    """A batch whose messages and texts have correlation rho in two features."""
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, n, 8, generator=generator)
    y = torch.cat([rho * x[:, :2] + (1 - rho**2) ** 0.5 * noise[:, :2], noise[:, 2:]], 1)
    return SimpleNamespace(soft=x[:, None], text_embeddings=y)


@pytest.mark.parametrize(
    ("loss", "least"), [("mine(features=32)", 0.7), ("infonce(temperature=0.3)", 0.6)]
)
def test_trained_critics_estimate_the_mutual_information(loss: str, least: float) -> None:
    rho, n = 0.8, 64
    truth = -math.log(1 - rho**2)  # 1.02 nats in two features
    made = Loss(parse_loss(loss), SPACE, seed=0)
    optimiser = torch.optim.Adam(made.parameters(), lr=5e-3)
    for step in range(300):
        optimiser.zero_grad()
        made(_gaussians(n, rho, step))[0].backward()
        optimiser.step()
    made.eval()
    with torch.no_grad():
        value = sum(float(made(_gaussians(n, rho, 10_000 + i))[0]) for i in range(20)) / 20
    found = -value if "mine" in loss else math.log(n) - value
    assert least * truth < found < 1.1 * truth


def test_mine_corrects_the_gradient_with_its_average() -> None:
    mine = OBJECTIVES.get("mine")(SPACE, features=4, rate=0.5)
    batch = _gaussians(6, 0.5, 0)
    mine(batch)
    first = mine.average.clone()
    soft = batch.soft.clone().requires_grad_()
    batch = SimpleNamespace(soft=soft, text_embeddings=batch.text_embeddings)
    with torch.no_grad():
        mine.average += 1.0  # as if earlier batches had had a mean e times as large
    (gradient,) = torch.autograd.grad(mine(batch), soft)
    # By hand: dE[T] - E[exp(T) dT] / average, with the average after this batch was taken in.
    a, b = mine.of_message(soft[:, 0]), mine.of_text(batch.text_embeddings)
    values = mine.critic(a[:, None] + b[None])[..., 0]
    same = torch.eye(6, dtype=torch.bool)
    average = 0.5 * math.exp(first.item() + 1) + 0.5 * math.exp(first.item())
    assert mine.average.exp().item() == pytest.approx(average, rel=1e-4)
    by_hand = -(values[same].mean() - values[~same].exp().mean() / average)
    (expected,) = torch.autograd.grad(by_hand, soft)
    assert torch.allclose(gradient, expected, atol=1e-6)
    mine.eval()
    before = mine.average.clone()
    mine(batch)
    assert torch.equal(mine.average, before)


def test_domain_objective_trains_discriminator_and_bridge() -> None:
    domain = OBJECTIVES.get("domain")(SPACE, strength=2.0)
    soft = torch.randn(3, 2, 8, requires_grad=True)
    batch = SimpleNamespace(soft=soft, real_embeddings=torch.randn(9, 8) + 2)
    loss = domain(batch)
    made = domain.discriminator(soft.flatten(0, 1))[:, 0]
    real = domain.discriminator(batch.real_embeddings)[:, 0]
    by_hand = ((1 - made.sigmoid()).log().mean() + real.sigmoid().log().mean()) / -2
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)
    weights = list(domain.parameters())
    ours = torch.autograd.grad(loss, [soft, *weights])
    plain = torch.autograd.grad(by_hand, [soft, *weights])
    assert torch.allclose(ours[0], -2 * plain[0], atol=1e-7)  # the bridge: the other way
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours[1:], plain[1:]))


def test_vib_has_its_closed_form_and_noise_only_in_training() -> None:
    space = Space(width=8, soft_tokens=2, rms=3.0)
    vib = OBJECTIVES.get("vib")(space, noise=0.5)
    soft = 3.0 * torch.ones(4, 2, 8)
    # Mean 1 and deviation 0.5 against a standard normal, per feature.
    expected = 0.5 * (1 + 0.25 - 1 - math.log(0.25))
    assert vib(SimpleNamespace(soft=soft)).item() == pytest.approx(expected)
    torch.manual_seed(0)
    noise = torch.cat([vib.channel(soft) - soft for _ in range(200)])
    assert noise.std().item() == pytest.approx(1.5, rel=0.05)  # in the receiver's scale
    assert torch.autograd.grad(vib.channel(soft).sum(), vib.log_std)[0].abs().sum() > 0
    vib.eval()
    assert torch.equal(vib.channel(soft), soft)
