"""The embedded pair: real weights, real text, every direction."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from latentwire import Task, Wire, load_task, train_bridge
from latentwire.core.files import cache_dir
from latentwire.core.progress import Progress
from latentwire.models import LanguageModel, Receiver, Sender, load_model
from latentwire.models.gguf import _is_valid, embedded_folder

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
SHORT = {"steps": 3, "batch_size": 4, "train_limit": 16, "val_limit": 8, "eval_every": 3}


@pytest.fixture(scope="module")
def smol() -> LanguageModel:
    return load_model("smollm2-135m-instruct", device="cpu")


@pytest.fixture(scope="module")
def gemma() -> LanguageModel:
    return load_model("gemma3-270m", device="cpu")


@pytest.fixture(scope="module")
def bbc() -> Task:
    return load_task("bbc_news")


def test_both_models_predict_english(smol: LanguageModel, gemma: LanguageModel) -> None:
    text = "The capital of France is"
    for lm in (smol, gemma):
        ids = torch.tensor([lm.token_ids(text, special=True)])
        with torch.no_grad():
            best = lm.model(ids).logits[0, -1].argmax()
        assert lm.tokenizer.decode([int(best)]).strip() in ("Paris", "a", "the", "Paris,")
    assert not any(p.requires_grad for lm in (smol, gemma) for p in lm.model.parameters())


def test_gemma_embeddings_are_calibrated_on_outputs(gemma: LanguageModel) -> None:
    rows = gemma.embedding_weight[::4096].pow(2).mean(-1).sqrt().median()
    assert gemma.embedding_rms == pytest.approx(float(rows) * gemma.width**0.5, rel=0.05)


def test_states_of_layer_18_are_those_of_the_whole_model(smol: LanguageModel) -> None:
    texts = ["Shares in the chip maker rose 4%.", "A short one."]
    got = Sender(smol).encode(texts, (18,))
    for i, text in enumerate(texts):
        ids = torch.tensor([smol.token_ids(text, special=True)])
        with torch.no_grad():
            whole = smol.model(ids, output_hidden_states=True).hidden_states[18][0]
        # Residual streams reach 1e4 in single dimensions: compare relative to the scale.
        assert (got.states[i, 0, got.mask[i]] - whole).abs().max() < 1e-4 * whole.abs().max()


def test_static_heads_change_no_score(gemma: LanguageModel, bbc: Task) -> None:
    head = "Topics: business, sport.\nArticle: "
    texts = ["Shares rose by 4% on Monday.", "The striker scored twice in the cup final."]
    choices = [[(1960,), (7932, 107), (14896,)]] * 2
    receiver = Receiver(gemma)
    found = []
    for static in (head, ""):
        prompts = [gemma.prompt(f"{head}{text}\nTopic:", static) for text in texts]
        found.append(torch.stack(receiver.score_choices(prompts, choices)))
    assert torch.allclose(found[0], found[1], atol=1e-3)


@pytest.mark.parametrize("direction", ["forth", "back", "self"])
def test_every_direction_trains_and_repeats(
    smol: LanguageModel,
    gemma: LanguageModel,
    bbc: Task,
    tmp_path: Path,
    own_cache: Path,
    direction: str,
) -> None:
    pair = {"forth": (smol, gemma), "back": (gemma, smol), "self": (smol, smol)}[direction]
    weights = []
    for name in ("a", "b"):
        wire = Wire.build(*pair, layer=3, soft_tokens=4, max_tokens=24)
        train_bridge(wire, bbc, tmp_path / name, progress=Progress(), **SHORT)
        weights.append(wire.fingerprint)
    assert weights[0] == weights[1]
    assert wire.answer("The striker scored twice in the cup final.").label in bbc.labels


def test_readme_code_runs(
    tmp_path: Path,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The converted models are not made again; states and runs go into the test's own folders.
    monkeypatch.delenv("LATENTWIRE_CACHE")
    models = cache_dir() / "models"
    own_cache.mkdir()
    (own_cache / "models").symlink_to(models)
    monkeypatch.setenv("LATENTWIRE_CACHE", str(own_cache))
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", readme, re.S))
    short = 'out_dir="runs/bbc", steps=2, batch_size=4, train_limit=8, val_limit=8)'
    assert 'out_dir="runs/bbc")' in code
    exec(code.replace('out_dir="runs/bbc")', short), {})
    assert "Answer(label=" in capsys.readouterr().out


def test_two_processes_convert_a_model_once(own_cache: Path) -> None:
    code = (
        "from latentwire.models.gguf import embedded_folder\n"
        "from latentwire.core.progress import LineProgress\n"
        "print(embedded_folder('smollm2-135m-instruct', LineProgress()))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    done = [process.communicate() for process in processes]
    assert all(process.returncode == 0 for process in processes), done
    assert len({out for out, _ in done}) == 1
    assert sum("Converting" in errors for _, errors in done) == 1
    folder = embedded_folder("smollm2-135m-instruct")
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    assert not _is_valid(folder)
    assert not list((own_cache / "models").glob(".*"))
