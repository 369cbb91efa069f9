"""Tests of the properties of single bridges."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import nnls
from torch import Tensor, nn

from latentwire import Task, Wire, train_bridge
from latentwire.bridge import BRIDGES, AlignedSpans, PairFacts, build_bridge
from latentwire.bridge.diffusion import _ddim_step, _levels
from latentwire.bridge.identity import spread_positions
from latentwire.bridge.moe import Experts, load_balance
from latentwire.bridge.optimal_transport import sinkhorn
from latentwire.bridge.pooling import segment_mean
from latentwire.core.errors import ConfigError
from latentwire.core.progress import Progress
from latentwire.models.fake import FAKES, fake_model
from latentwire.models.zoo import PREFIX_WIDTHS, WIDTHS

L, T, DS, DR, K = 2, 8, 16, 24, 3
NOT_TRAINED = {"identity", "ridge"}


def _bridge(kind: str, n_layers: int = L, **options: Any) -> Any:
    return build_bridge(
        kind, n_layers=n_layers, sender_width=DS, receiver_width=DR, soft_tokens=K, **options
    )


def _batch(b: int = 4, t: int = T, n_layers: int = L) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(b, n_layers, t, DS), torch.ones(b, t, dtype=torch.bool)


def _inputs_of(module: nn.Module) -> list[torch.Size]:
    """Record the shapes of the inputs of a module."""
    seen: list[torch.Size] = []
    module.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    return seen


@pytest.mark.parametrize("kind", [k for k in BRIDGES.names() if k not in NOT_TRAINED])
def test_bridge_learns_eight_examples(
    kind: str, fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    known = BRIDGES.get(kind).options()
    small = {"width": 64, "heads": 4, "dropout": 0.0, "table": 128, "sharpness": 7.0}
    wire = fake_wire(bridge=kind, **{k: v for k, v in small.items() if k in known})
    task = make_task(8)
    settings = {"steps": 100, "batch_size": 8, "lr": 1e-2, "warmup_steps": 5, "val_limit": 4}
    train_bridge(
        wire,
        task,
        tmp_path / "run",
        progress=Progress(),
        eval_every=100,
        save_every=100,
        **settings,
    )
    train = list(task.split("train"))
    texts, _ = wire.sender_texts(task, train)
    soft = wire.soft_tokens(wire.sender.encode(texts, wire.spec.layers))
    responses = wire.respond(task, train, soft)
    best = [max(range(2), key=response.scores.__getitem__) for response in responses]
    assert best == [example.target for example in train]


@pytest.mark.parametrize("kind", ["ridge", "vocab"])
def test_bridge_saves_facts_of_the_pair_with_a_run(
    kind: str, fake_wire: Callable[..., Wire], make_task: Callable[..., Task], tmp_path: Path
) -> None:
    wire, task = fake_wire(bridge=kind), make_task(8)
    untouched = {k: v.clone() for k, v in wire.bridge.named_buffers()}
    train_bridge(wire, task, tmp_path / "run", progress=Progress(), steps=1, batch_size=4)
    facts = {"ridge": "map", "vocab": "table"}[kind]
    assert not torch.equal(wire.bridge.get_buffer(facts), untouched[facts])
    again = Wire.from_pretrained(tmp_path / "run", sender=wire.sender.lm, receiver=wire.receiver.lm)
    assert torch.equal(again.bridge.get_buffer(facts), wire.bridge.get_buffer(facts))
    assert again.answer("fire").scores == wire.answer("fire").scores


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("moe", {"top_k": 5}, r"top_k is 5; it must be 1 to 4"),
        ("mixture_of_depths", {"capacity": 0.0}, "must be > 0 and <= 1"),
        ("optimal_transport", {"epsilon": 0.0}, "epsilon must be > 0"),
        ("vocab", {"table": K}, "table must be > 3"),
        ("ridge", {"penalty": -1.0}, "must be >= 0"),
        ("thalamic", {"heads": 7}, "thalamic: width 320 is not a multiple of heads 7"),
        ("deep_prefix", {"rank": 0}, "rank is 0; it must be >= 1"),
        ("mlp", {"depth": 0}, ">= 1"),
        ("perceiver_cot", {"n_steps": 0}, ">= 1"),
        ("flow_matching", {"n_steps": 0}, ">= 1"),
        ("diffusion", {"n_steps": 0}, ">= 1"),
    ],
)
def test_build_bridge_refuses_wrong_options(kind: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _bridge(kind, **options)


def test_perceiver_keeps_the_names_of_saved_bridges() -> None:
    names = set(_bridge("perceiver").state_dict())
    block = {f"blocks.0.{part}" for part in ("cross.q.weight", "self_.kv.weight", "feed.2.bias")}
    assert block <= names and {"reading.weight", "queries", "mean_path.weight"} <= names
    assert len(names) == 31


def test_segment_mean_has_even_segments_and_none_empty() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 11, 5)
    mask = torch.ones(1, 11, dtype=torch.bool)
    expected = F.adaptive_avg_pool1d(x.transpose(1, 2), 4).transpose(1, 2)
    assert torch.allclose(segment_mean(x, mask, 4), expected, atol=1e-6)
    assert torch.allclose(segment_mean(x[:, :2], mask[:, :2], 3)[0, [0, 2]], x[0, :2], atol=1e-6)


def test_mean_pool_keeps_the_order_of_the_text() -> None:
    bridge = _bridge("mean_pool").eval()
    nn.init.zeros_(bridge.anchors)
    states, mask = _batch(t=9)
    there, back = bridge(states, mask), bridge(states.flip(2), mask)
    assert torch.allclose(back, there.flip(1), atol=1e-5)


def test_perceiver_cot_attends_to_earlier_steps() -> None:
    bridge = _bridge("perceiver_cot", n_steps=3).eval()
    read: list[int] = []
    bridge.block.register_forward_pre_hook(lambda _, given: read.append(given[1].shape[1]))
    bridge(*_batch())
    assert read == [T + K, T + 2 * K, T + 3 * K]
    longer = _bridge("perceiver_cot", n_steps=5)
    assert longer.n_parameters - bridge.n_parameters == 2 * 320


def test_moe_runs_only_selected_experts() -> None:
    bridge = _bridge("moe", experts=4, top_k=2).eval()
    experts = bridge.experts
    seen = [_inputs_of(layer) for layer in experts.layers]
    bridge(*_batch())
    assert sum(shape[0] for calls in seen for shape in calls) == 2 * 4 * K
    for calls in seen:
        calls.clear()
    experts.router.register_forward_hook(lambda *_: torch.tensor([[5.0, 0, 4, 0]]).expand(12, 4))
    bridge(*_batch())
    assert [len(calls) for calls in seen] == [1, 0, 1, 0]


def test_moe_equals_the_weighted_sum_of_all_experts() -> None:
    torch.manual_seed(0)
    experts, rows = Experts(8, 4, 2), torch.randn(10, 8)
    shares = experts.router(rows).softmax(-1)
    kept = shares.where(shares >= shares.topk(2).values[:, 1:], 0.0)
    kept = kept / kept.sum(-1, keepdim=True)
    everything = torch.stack([layer(rows) for layer in experts.layers], dim=1)  # (n, e, w)
    out, _ = experts(rows)
    assert torch.allclose(out, (kept[..., None] * everything).sum(1), atol=1e-6)


def test_load_balance_is_1_for_equal_loads_and_n_for_one_expert() -> None:
    even = torch.full((8, 4), 0.25)
    assert load_balance(even, torch.arange(8)[:, None] % 4) == pytest.approx(1)
    alone = F.one_hot(torch.zeros(8, dtype=torch.long), 4).float()
    assert load_balance(alone, torch.zeros(8, 1, dtype=torch.long)) == pytest.approx(4)


def test_moe_with_top_k_1_has_a_router_gradient() -> None:
    bridge = _bridge("moe", top_k=1, balance_weight=0.0)
    bridge(*_batch()).square().sum().backward()
    assert bridge.experts.router.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("capacity", "rows"), [(0.25, 2), (0.3, 3), (1.0, 8)])
def test_mixture_of_depths_processes_a_fraction_of_the_tokens(capacity: float, rows: int) -> None:
    bridge = _bridge("mixture_of_depths", depth=2, capacity=capacity)
    seen = [_inputs_of(block.inner) for block in bridge.routed]
    bridge(*_batch()).sum().backward()
    assert seen == [[torch.Size([4, rows, 320])]] * 2
    assert all(block.router.weight.grad.abs().sum() > 0 for block in bridge.routed)


def test_mixture_of_depths_does_not_change_other_tokens() -> None:
    block = _bridge("mixture_of_depths", width=32, heads=4, capacity=0.25).routed[0]
    torch.manual_seed(0)
    tokens, mask = torch.randn(2, T, 32), torch.ones(2, T, dtype=torch.bool)
    mask[1, 4:] = False
    changed = (block(tokens, mask) != tokens).any(-1)
    scores = block.router(tokens).squeeze(-1).masked_fill(~mask, -torch.inf)
    chosen = [set(row.nonzero().flatten().tolist()) for row in changed]
    assert chosen == [set(scores[0].topk(2).indices.tolist()), {int(scores[1].argmax())}]


def test_successive_refinement_refines_and_may_stop_early() -> None:
    states, mask = _batch(b=16)
    bridge = _bridge("successive_refinement", stages=2, early=1.0, dropout=0.0)
    bridge(states, mask).square().sum().backward()
    assert bridge.stages[1].writing.weight.grad.abs().sum() == 0
    assert bridge.stages[0].writing.weight.grad.abs().sum() > 0
    bridge.eval()
    x = states.masked_fill(~mask[:, None, :, None], 0.0)
    whole = bridge.mix(x, mask)
    bridge.stages = bridge.stages[:1]
    first = bridge.mix(x, mask)
    assert 0 < (whole - first).norm() < first.norm()


def test_flow_matching_with_a_constant_field_is_straight() -> None:
    states, mask = _batch()
    ends = []
    for n_steps in (1, 4):
        bridge = _bridge("flow_matching", n_steps=n_steps, flow_weight=1.0, dropout=0.0)
        nn.init.zeros_(bridge.writing.weight)
        ends.append(bridge(states, mask))
        assert bridge.own_losses()["flow"] < 1e-10
    assert torch.allclose(*ends, atol=1e-5)


def test_ddim_step_keeps_the_predicted_noise() -> None:
    torch.manual_seed(0)
    clean, noise = torch.randn(2, 3, 5), torch.randn(2, 3, 5)

    def at(time: float) -> Tensor:
        signal_level, noise_level = _levels(torch.tensor(time))
        return signal_level * clean + noise_level * noise

    assert torch.allclose(_ddim_step(at(0.75), clean, 0.75, 0.25), at(0.25), atol=1e-5)
    assert torch.allclose(_ddim_step(at(0.5), clean, 0.5, 0.0), clean, atol=1e-5)


def test_sinkhorn_plan_has_the_right_marginals() -> None:
    torch.manual_seed(0)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 5:] = False
    cost = torch.rand(2, 4, 9).masked_fill(~mask[:, None], 3e38)
    plan = sinkhorn(cost, mask, 0.1, 500)
    assert torch.allclose(plan.sum(2), torch.full((2, 4), 0.25), atol=1e-5)
    wanted = mask / mask.sum(1, keepdim=True)
    assert torch.allclose(plan.sum(1), wanted, atol=1e-5)
    assert (plan >= 0).all() and (plan[1, :, 5:] == 0).all()
    # A cheap cell gets more than its share.
    cost[0, 2, 3] = -1.0
    assert sinkhorn(cost, mask, 0.1, 500)[0, 2, 3] == pytest.approx(1 / 9, rel=1e-2)


def test_sinkhorn_is_finite_for_extreme_costs() -> None:
    torch.manual_seed(0)
    cost = (1e5 * (1 + torch.rand(2, 4, 9))).requires_grad_()
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 2:] = False
    assert (cost / 0.05).neg().exp().sum() == 0  # the plain iteration would divide 0 by 0
    plan = sinkhorn(cost, mask, 0.05, 20)
    assert plan.isfinite().all() and (plan[1, :, 2:] == 0).all()
    assert torch.allclose(plan.sum(2), torch.full((2, 4), 0.25), atol=1e-6)
    (plan * torch.randn_like(plan)).sum().backward()
    assert cost.grad is not None and cost.grad.isfinite().all()


def test_thalamic_gates_can_close() -> None:
    bridge = _bridge("thalamic").eval()
    nn.init.zeros_(bridge.mean_path.weight)
    states, mask = _batch()
    tokens, _ = bridge.encode(states, mask)
    gates = bridge.gates(tokens, mask)
    assert gates.shape == (4, T, 320) and 0 < gates.min() < gates.max() < 1
    assert not torch.allclose(*bridge(states, mask)[:2], atol=1e-3)
    nn.init.constant_(bridge.token_gate.bias, -1e4)
    assert torch.allclose(*bridge(states, mask)[:2], atol=1e-6)


def test_multi_layer_averages_layers() -> None:
    bridge = _bridge("multi_layer").eval()
    assert torch.allclose(bridge.layer_weights, torch.tensor([0.5, 0.5]))
    states, mask = _batch()
    other = torch.cat([torch.randn(4, 1, T, DS), states[:, 1:]], dim=1)
    assert not torch.allclose(bridge(states, mask), bridge(other, mask), atol=1e-2)
    bridge.layer_logits.data[:] = torch.tensor([0.0, math.log(3)])
    assert torch.allclose(bridge.layer_weights, torch.tensor([0.25, 0.75]))
    bridge.layer_logits.data[:] = torch.tensor([-100.0, 100.0])
    assert torch.allclose(bridge(states, mask), bridge(other, mask), atol=1e-6)
    assert _bridge("multi_layer", n_layers=5).n_parameters == bridge.n_parameters + 3


def test_vocab_stays_within_the_convex_hull() -> None:
    torch.manual_seed(0)
    facts = PairFacts(
        state_mean=torch.zeros(L, DS),
        state_std=torch.ones(L, DS),
        embedding_rms=2.0,
        anchors=torch.randn(K, DR),
        embeddings=2 * torch.randn(12, DR),
    )
    bridge = _bridge("vocab", table=11, gain=5.0).eval()
    bridge.initialize(facts)
    assert facts.embeddings is not None
    rows = torch.cat([facts.anchors, facts.embeddings[:8]])
    assert torch.allclose(2.0 * bridge.table, rows, atol=1e-6)
    corners = np.vstack([rows.T.double().numpy(), np.ones(len(rows))])  # shares sum to 1
    for soft in bridge(*_batch()).detach().flatten(0, 1).double().numpy():
        shares, distance = nnls(corners, np.append(soft, 1.0))
        assert distance < 1e-4 and shares.sum() == pytest.approx(1, abs=1e-4)


def test_ridge_recovers_a_linear_map_from_spans() -> None:
    torch.manual_seed(0)
    mean, std = torch.randn(L, DS), torch.rand(L, DS) + 0.5
    states = mean + std * torch.randn(400, L, DS)
    true_map, true_shift = torch.randn(L * DS, DR), torch.randn(DR)
    spans = AlignedSpans(states, states.flatten(1) @ true_map + true_shift)
    bridge = _bridge("ridge", penalty=1e-8).eval()
    bridge.initialize(PairFacts(mean, std, 2.5, torch.randn(K, DR), spans=spans))
    new, mask = _batch(t=K)
    wanted = new.transpose(1, 2).flatten(2) @ true_map + true_shift  # (b, k, dr), one per token
    cosine = torch.cosine_similarity(bridge(new, mask), wanted, dim=-1)
    assert cosine.min() > 0.9999
    stiff = _bridge("ridge", penalty=1e6).eval()
    stiff.initialize(PairFacts(mean, std, 2.5, torch.randn(K, DR), spans=spans))
    assert stiff.map.norm() < 1e-4 * bridge.map.norm()
    with pytest.raises(ConfigError, match="found no spans"):
        none = AlignedSpans(states[:0], spans.embeddings[:0])
        bridge.initialize(PairFacts(mean, std, 2.5, torch.randn(K, DR), spans=none))


def test_identity_returns_embeddings_for_equal_models() -> None:
    lm = fake_model("fake-llama")
    wire = Wire.build(lm, lm, bridge="identity", layer=0, soft_tokens=4)
    text = "the sea is blue"
    states = wire.sender.encode([text, "fire"], wire.spec.layers)
    wire.initialize(states, ("red", "blue"))
    soft = wire.soft_tokens(states)
    ids = lm.token_ids(text, special=True)
    picked = lm.embed(torch.tensor(ids))[[math.ceil(len(ids) * j / 4) - 1 for j in (1, 2, 3, 4)]]
    assert torch.cosine_similarity(soft[0], picked, dim=-1).min() > 0.99999
    mask = torch.tensor([[True] * 2 + [False] * 3, [True] * 5])
    assert spread_positions(mask, 3).tolist() == [[0, 1, 1], [1, 3, 4]]


def test_pair_widths_match_the_models() -> None:
    fakes = {name: fake_model(name) for name in FAKES}
    assert {name: lm.width for name, lm in fakes.items()} == {n: WIDTHS[n] for n in FAKES}
    assert {n: lm.prefix_width for n, lm in fakes.items()} == {n: PREFIX_WIDTHS[n] for n in FAKES}
    assert WIDTHS.keys() == PREFIX_WIDTHS.keys()


def test_bridge_sizes_are_reasonable() -> None:
    from telepathy.cli.bridges import describe_bridges

    rows = {row["kind"]: row for row in describe_bridges("embedded")["bridges"]}
    assert set(rows) == set(BRIDGES.names())
    for kind, row in rows.items():
        assert 0 < row["n_parameters"] <= 8_000_000, kind
        width = 9216 if row["writes"] == "prefix" else 640
        sizes = {"n_layers": 1, "sender_width": 576, "receiver_width": width, "soft_tokens": 8}
        assert row["n_parameters"] == build_bridge(kind, **sizes).n_parameters
