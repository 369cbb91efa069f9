"""Messages survive the trip within the error of their codec, in as few bytes as promised."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import deserialize
from safetensors.torch import load, save_file
from torch import Tensor

from latentwire.core.errors import BridgeError, MessageError, UsageError
from latentwire.wire.basis import Basis, fit_basis
from latentwire.wire.codecs import CODECS
from latentwire.wire.header import Limits, read_header
from latentwire.wire.message import Message

SENDER, RECEIVER = "smollm2-135m-instruct@0123456789abcdef", "gemma3-270m@0123456789abcdef"
SHAPES = [(1, 1), (3, 7), (8, 640), (5, 65), (4, 33)]


def _soft(k: int, width: int, seed: int = 0) -> Tensor:
    soft = torch.randn(k, width, generator=torch.Generator().manual_seed(seed))
    soft[0, width // 2] *= 100  # one number far from the rest
    return soft


def _sent(soft: Tensor, codec: str, basis: Basis | None = None) -> Tensor:
    message = Message(soft, "abc", codec, SENDER, RECEIVER, basis)
    back = Message.from_bytes(message.to_bytes(), basis=basis)
    assert (back.bridge, back.codec) == ("abc", codec)
    assert (back.sender, back.receiver) == (SENDER, RECEIVER)
    assert back.soft.dtype == torch.float32 and back.soft.shape == soft.shape
    assert back.to_bytes() == message.to_bytes()  # handing on what was read loses nothing more
    return back.soft


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("codec", "relative"), [("fp32", 0.0), ("fp16", 2**-11), ("bf16", 2**-8)])
def test_plain_types_round_to_the_nearest(
    shape: tuple[int, int], codec: str, relative: float
) -> None:
    soft = _soft(*shape)
    off = (_sent(soft, codec) - soft).abs()
    assert bool((off <= soft.abs() * relative + 2**-25 * (codec == "fp16")).all())


def test_bf16_is_torch_s_bfloat16() -> None:
    soft = torch.cat([_soft(8, 640), torch.tensor([0.0, -0.0, 1e-40, 3.38e38]).repeat(8, 160)])
    assert torch.equal(_sent(soft, "bf16"), soft.bfloat16().float())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("codec", "levels", "group"), [("int8", 127, 64), ("int4", 7, 32)])
@pytest.mark.parametrize("unit", [1.0, 1e-30, 1e30])
def test_whole_numbers_are_off_by_half_a_scale(
    shape: tuple[int, int], codec: str, levels: int, group: int, unit: float
) -> None:
    soft = _soft(*shape) * unit
    off = (_sent(soft, codec) - soft).abs()
    for part, wrong in zip(soft.split(group, dim=1), off.split(group, dim=1)):
        scale = part.abs().amax(1, keepdim=True) / levels * (1 + 2**-7)  # it is a bfloat16 itself
        assert bool((wrong <= scale * 0.5001).all())


@pytest.mark.parametrize("codec", ["fp32", "fp16", "bf16", "int8", "int4"])
def test_zeros_stay_zeros(codec: str) -> None:
    assert not _sent(torch.zeros(3, 40), codec).any()


def test_a_basis_of_full_rank_loses_only_what_int8_does() -> None:
    soft = torch.randn(40, 3, 16)
    basis = fit_basis(soft, 16)
    back = _sent(soft[0], "lowrank", basis)
    assert torch.allclose(back, soft[0], atol=0.1)
    eye = basis.directions @ basis.directions.T
    assert torch.allclose(eye, torch.eye(16), atol=1e-5)


def test_a_low_rank_finds_the_few_directions_there_are() -> None:
    few = torch.randn(4, 96)
    soft = torch.randn(8, 96) + torch.randn(50, 8, 4) @ few
    basis = fit_basis(soft, 4)
    back = _sent(soft[7], "lowrank", basis)
    assert float((back - soft[7]).norm() / soft[7].norm()) < 0.02
    poorer = fit_basis(soft, 2)
    assert (_sent(soft[7], "lowrank", poorer) - soft[7]).norm() > (back - soft[7]).norm()


def test_bases_are_checked(tmp_path: Path) -> None:
    soft = torch.randn(20, 2, 8)
    basis, other = fit_basis(soft, 3), fit_basis(soft, 4)
    data = Message(soft[0], "abc", "lowrank", basis=basis).to_bytes()
    with pytest.raises(MessageError, match="needs a low-rank basis"):
        Message.from_bytes(data)
    with pytest.raises(MessageError, match=r"uses basis .* of rank 3; this wire"):
        Message.from_bytes(data, basis=other)
    with pytest.raises(MessageError, match="needs a low-rank basis"):
        Message(soft[0], "abc", "lowrank").to_bytes()
    with pytest.raises(MessageError, match=r"of shape \(2, 8\); these have shape \(3, 8\)"):
        Message(torch.ones(3, 8), "abc", "lowrank", basis=basis).to_bytes()
    for rank, messages in ((0, soft), (9, soft), (2, soft[:1])):
        with pytest.raises(UsageError, match="rank of 1 to 8 and at least 2 messages"):
            fit_basis(messages, rank)
    save_file(basis.tensors(), tmp_path / "basis")
    assert torch.equal(Basis.load(tmp_path / "basis", basis.fingerprint).mean, basis.mean)
    with pytest.raises(BridgeError, match="damaged or belongs to another bridge"):
        Basis.load(tmp_path / "basis", other.fingerprint)
    (tmp_path / "basis").write_bytes(b"no")
    with pytest.raises(BridgeError, match="is not a basis"):
        Basis.load(tmp_path / "basis", basis.fingerprint)


def test_bytes_of_eight_soft_tokens_of_width_640() -> None:
    soft = torch.randn(16, 8, 640)
    most = {
        "fp32": 21_000,
        "fp16": 10_800,
        "bf16": 10_800,
        "int8": 6_000,
        "int4": 3_300,
        "lowrank": 1_536,
    }
    sizes = {}
    for rank in (128, 192):
        basis = fit_basis(torch.randn(30, 8, 640), rank)
        for codec in most:
            made = [Message(s, "0" * 16, codec, SENDER, RECEIVER, basis) for s in soft]
            (sizes[codec, rank],) = {len(message.to_bytes()) for message in made}
    assert {e: sizes[e, 128] <= n for e, n in most.items()} == dict.fromkeys(most, True)
    assert sizes["lowrank", 192] <= 2_500


@pytest.mark.parametrize("codec", CODECS.names())
def test_the_safetensors_library_reads_it(codec: str) -> None:
    soft = torch.randn(9, 5, 70)
    data = Message(soft[0], "abc", codec, basis=fit_basis(soft, 33)).to_bytes()
    tensors = load(data)
    header, payload = read_header(data)
    assert {p.name: p.shape for p in header.tensors} == {
        n: tuple(t.shape) for n, t in tensors.items()
    }
    found = dict(deserialize(data))
    assert b"".join(bytes(found[part.name]["data"]) for part in header.tensors) == payload


@pytest.mark.parametrize("codec", ["fp32", "fp16", "bf16", "int8", "int4"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none(codec: str, value: float) -> None:
    soft = torch.ones(2, 40)
    soft[1, 37] = value
    with pytest.raises(MessageError, match=f"cannot be written as {codec}"):
        Message(soft, "abc", codec).to_bytes()


@pytest.mark.parametrize(
    ("codec", "value"), [("fp16", 1e6), ("bf16", 3.4e38), ("int8", 3.4e38), ("int4", 3e38)]
)
def test_numbers_that_do_not_fit(codec: str, value: float) -> None:
    with pytest.raises(MessageError, match=f"cannot be written as {codec}"):
        Message(torch.full((2, 4), value), "abc", codec).to_bytes()


def test_what_cannot_be_written() -> None:
    with pytest.raises(MessageError, match=r"Unknown codec 'fp7'\. Known: bf16, fp16, fp32"):
        Message(torch.ones(2, 4), "abc", "fp7").to_bytes()
    for soft in (torch.ones(4), torch.ones(0, 4), torch.ones(4, 0)):
        with pytest.raises(MessageError, match="must be non-empty"):
            Message(soft, "abc").to_bytes()
    for name in ('"', "a b", "\u00e9", "x" * 513, "\\", "\n"):
        with pytest.raises(MessageError, match="is not allowed in a header"):
            Message(torch.ones(2, 4), "abc", sender=name).to_bytes()


def test_messages_are_joined() -> None:
    one = Message(torch.ones(2, 4), "a", "int8", "s@1", RECEIVER)
    two = Message(torch.zeros(3, 4), "b", "fp16", "t@2", RECEIVER)
    both = Message.join([one, two, one])
    assert (both.bridge, both.sender, both.receiver) == ("a+b", "s@1+t@2", RECEIVER)
    assert torch.equal(both.soft, torch.cat([one.soft, two.soft, one.soft]))
    assert torch.equal(Message.from_bytes(both.to_bytes()).soft, both.soft)
    with pytest.raises(MessageError, match="these have the receivers"):
        Message.join([one, Message(torch.ones(2, 4), "b", receiver="other@3")])
    with pytest.raises(MessageError, match="these have the widths 4, 5"):
        Message.join([one, Message(torch.ones(2, 5), "b", receiver=RECEIVER)])
    with pytest.raises(MessageError, match="at least one message to join"):
        Message.join([])


def test_limits_are_the_reader_s() -> None:
    data = Message(torch.ones(3, 40), "abc", "int4").to_bytes()
    for limits, words in (
        (Limits(max_bytes=len(data) - 1), "Raise Limits.max_bytes"),
        (Limits(max_bytes=479), "480 bytes as float32; at most 479"),
        (Limits(max_tokens=2), "n_tokens is '3'; 1 to 2 are allowed"),
        (Limits(max_width=39), "width is '40'; 1 to 39 are allowed"),
    ):
        with pytest.raises(MessageError, match=words):
            Message.from_bytes(data, limits=limits)
    roomy = Limits(max_bytes=480, max_tokens=3, max_width=40)
    assert Message.from_bytes(data, limits=roomy).soft.shape == (3, 40)
