"""Adapters learn beside a frozen model as all weights do, engines know nothing of them, and peft reads what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from peft import PeftModel
from ray.rllib.core import DEFAULT_MODULE_ID
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, MambaConfig, MixtralConfig

from aepo_rllib import AEPOConfig
from aepo_rllib.columns import Columns
from aepo_rllib.learning.rl_module import CausalLMModule
from aepo_rllib.models.export import ADAPTER_FOLDER, HF_FOLDER
from aepo_rllib.models.hf import load_model, resolve_model
from aepo_rllib.models.lora import Lora, adapter_weights, add_adapters, base_state, merged_weights
from aepo_rllib.models.named_folder import EMBEDDED
from aepo_rllib.models.named_weights import copy_weights, own_state
from aepo_rllib.models.token_scorer import TokenScorer
from aepo_rllib.rollout import make_engine
from tests.aepo_rllib.test_sharding import ASKED
from tests.aepo_rllib.test_token_scorer import INTERLEAVED, make_batch
from tests.support.modules import ABSOLUTE_POSITIONS, SLIDING_WINDOW, build_module
from tests.support.small_runs import figures, small, weights

RANK, ALPHA = 4, 12.0
LORA = Lora(RANK, ALPHA)._asdict()
MODELS = [EMBEDDED, ABSOLUTE_POSITIONS, SLIDING_WINDOW]


def stirred(module: CausalLMModule) -> CausalLMModule:
    """The module as if it had learned: B is not 0."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, tiny_models: dict[str, str]) -> str:
    return tiny_models.get(request.param, request.param)


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    return make_batch(INTERLEAVED)


def logp(scorer: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return (scorer.scorer if isinstance(scorer, CausalLMModule) else scorer)(batch)[Columns.POLICY_LOGP]


# --- The module ----------------------------------------------------------------------------------------------------


def test_the_policy_begins_as_the_model_and_as_the_same_one_for_every_seed(
    model: str, batch: dict[str, torch.Tensor]
) -> None:
    before = torch.get_rng_state()
    one, same, other = (build_module(model, lora=LORA | {"seed": seed}) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(logp(one, batch), logp(build_module(model), batch))
    states = [module.get_state() for module in (one, same, other)]
    for name, value in states[0].items():
        np.testing.assert_array_equal(states[1][name], value)
        assert (states[2][name] != value).any() == ("lora_A" in name), name


def test_adapters_alone_have_gradients_and_a_state(model: str, batch: dict[str, torch.Tensor]) -> None:
    module = stirred(build_module(model, lora=LORA))
    logp(module, batch).sum().backward()
    for name, parameter in module.named_parameters():
        assert (parameter.grad is not None) is parameter.requires_grad is ("lora_" in name), name
        assert parameter.grad is None or parameter.grad.any(), name
    state = module.get_state()
    assert {"lora_" in name for name in state} == {True}
    again = build_module(model, lora=LORA)
    again.set_state(state)
    assert torch.equal(logp(again, batch), logp(module, batch))
    with pytest.raises(ValueError, match="a state of other weights than those that learn here"):
        again.set_state(build_module(model).get_state())


def test_prompts_are_shared_and_activations_computed_again_with_the_same_gradient(
    model: str, batch: dict[str, torch.Tensor]
) -> None:
    found = []
    for options in ({}, {"checkpoint_activations": True}, {"share_prompts": False}):
        module = stirred(build_module(model, dtype="float64", lora=LORA, **options))
        assert module.scorer.share_prompts is options.get("share_prompts", True)
        values = logp(module, batch)
        values.sum().backward()
        found.append([values, *(each.grad for each in module.parameters() if each.grad is not None)])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-5)  # Llama's rotations are float32


def test_merged_weights_are_the_adapters_policy_and_bear_the_models_names(
    model: str, batch: dict[str, torch.Tensor]
) -> None:
    module, plain = stirred(build_module(model, dtype="float64", lora=LORA)), load_model(model, dtype="float64")
    frozen = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    merged = dict(merged_weights(module.model, lambda tensor: tensor))
    assert merged.keys() == own_state(plain).keys()
    before = logp(TokenScorer(plain), batch)
    copy_weights(plain, merged)
    torch.testing.assert_close(logp(TokenScorer(plain), batch), logp(module, batch), rtol=0, atol=1e-5)
    assert (before - logp(module, batch)).abs().max() > 0.01
    assert all(torch.equal(frozen[name], tensor) for name, tensor in module.state_dict().items())


def test_in_sixteen_bits_the_base_has_sixteen_and_adapters_thirty_two(batch: dict[str, torch.Tensor]) -> None:
    module, exact = (stirred(build_module(EMBEDDED, dtype=dtype, lora=LORA)) for dtype in ("bfloat16", "float32"))
    for name, parameter in module.named_parameters():
        assert parameter.dtype is (torch.float32 if "lora_" in name else torch.bfloat16), name
    off = (logp(module, batch) - logp(exact, batch)).abs()
    assert 1e-4 < off.mean() < 0.2


# --- Runs ----------------------------------------------------------------------------------------------------------


class Trained(NamedTuple):
    """An AEPO run with adapters of rank 8: alive, its last step's result, a checkpoint, and the step after it."""

    algo: Any
    result: dict[str, Any]
    path: Path
    following: dict[str, float]


@pytest.fixture(scope="module")
def trained(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    config = small(AEPOConfig(), entropy_window=2, lora_rank=8, lr=5e-3, probe_rows=3)
    algo = config.build_algo()
    results = [algo.train() for _ in range(2)]
    path = Path(algo.save_to_path(tmp_path_factory.mktemp("lora") / "checkpoint"))
    following = figures(algo.train())
    algo.restore_from_path(path)
    yield Trained(algo, results[-1], path, following)
    algo.stop()


def test_a_probe_proves_that_engines_have_the_merged_weights(trained: Trained) -> None:
    assert trained.result["update"]["first_ratio_max_deviation"] < 1e-3
    assert 0 < trained.result["update"]["probe_largest_gap"] < 1e-3
    stale = make_engine("transformers", EMBEDDED)
    [figures] = trained.algo.learners.score(ASKED[:1])
    [found] = stale.log_probs(ASKED[:1])
    assert np.abs(figures[Columns.POLICY_LOGP] - found).max() > 1e-2


def test_a_checkpoint_is_small_and_a_run_resumes_bit_for_bit(trained: Trained) -> None:
    parts = sum(file.stat().st_size for file in (trained.path / "learner_group").rglob("*") if file.is_file())
    adapter = (trained.path / ADAPTER_FOLDER / "adapter_model.safetensors").stat().st_size
    assert adapter == pytest.approx(4 * 43_776, rel=0.05)
    assert 3 * 4 * 43_776 < parts < 5 * adapter  # every tensor has a header
    algo = type(trained.algo).from_checkpoint(str(trained.path))
    try:
        for name, value in weights(trained.algo).items():
            np.testing.assert_array_equal(weights(algo)[name], value)
        assert figures(algo.train()) == trained.following
    finally:
        algo.stop()


def test_peft_and_transformers_read_what_is_exported(trained: Trained) -> None:
    batch = make_batch(INTERLEAVED)
    expected = logp(trained.algo.get_module(), batch)
    base = AutoModelForCausalLM.from_pretrained(resolve_model(EMBEDDED))
    before = logp(TokenScorer(base), batch)
    merged = AutoModelForCausalLM.from_pretrained(trained.path / HF_FOLDER)
    adapted = PeftModel.from_pretrained(base, trained.path / ADAPTER_FOLDER)
    torch.testing.assert_close(logp(TokenScorer(adapted.base_model.model.eval()), batch), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(logp(TokenScorer(merged.eval()), batch), expected, rtol=0, atol=1e-4)
    assert (expected - before).abs().max() > 1e-2
    config = json.loads((trained.path / ADAPTER_FOLDER / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"], config["lora_dropout"]) == ("LORA", 8, 16, 0)
    assert config["target_modules"] == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    stored = load_file(trained.path / ADAPTER_FOLDER / "adapter_model.safetensors")
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            assert torch.equal(stored[name.replace(".default", "")], parameter), name


def test_weights_are_read_and_set_and_reach_the_engine(trained: Trained) -> None:
    algo = trained.algo
    learned = algo.get_weights()
    unlearned = {name: np.zeros_like(value) if "lora_B" in name else value for name, value in weights(algo).items()}
    [before] = algo.learners.log_probs(ASKED[:1])
    algo.set_weights({DEFAULT_MODULE_ID: unlearned})
    [base] = make_engine("transformers", EMBEDDED).log_probs(ASKED[:1])
    for found in (algo.learners.log_probs(ASKED[:1]), *algo.samplers.log_probs(ASKED[:1]).values()):
        np.testing.assert_allclose(found[0], base, atol=1e-4)
    algo.set_weights(learned)
    for found in (algo.learners.log_probs(ASKED[:1]), *algo.samplers.log_probs(ASKED[:1]).values()):
        np.testing.assert_allclose(found[0], before, atol=1e-4)


@pytest.mark.slow
def test_the_dial_moves_the_entropy_as_it_does_with_all_weights(ray_cluster: None) -> None:
    """A target above the entropy heats the second stream, one below cools it: the runs part, and by as much."""
    gaps = []
    for options in ({"lora_rank": 8, "lr": 1e-2}, {"lr": 1.2e-3}):
        ends = []
        for target in (0.4, 1.3):
            config = small(AEPOConfig(), target_entropy=target, alpha=4.0, evaluation_interval=None, **options)
            algo = config.build_algo()
            ends.append(np.mean([algo.train()["control"]["entropy"] for _ in range(20)][-5:]))
            algo.stop()
        gaps.append(ends[1] - ends[0])
    assert min(gaps) > 0.1
    assert gaps[0] == pytest.approx(gaps[1], rel=0.5)


# --- Refusals ------------------------------------------------------------------------------------------------------

MAPS = "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lora_rank": 4, "lora_target_modules": ["q_proj", "qroj"]}, f"'qroj' is not there; choose of {MAPS}"),
        (
            {"lora_rank": 4, "lora_target_modules": ["lm_head"]},
            f"'lm_head' is no linear map inside .*; choose of {MAPS}",
        ),
        ({"lora_rank": 4, "lora_target_modules": ["embed_tokens"]}, "'embed_tokens' is no linear map inside the model"),
        ({"lora_rank": 4, "lora_target_modules": "q_proj"}, "lora_target_modules='q_proj' must be a list, each a text"),
        ({"lora_rank": 0}, "lora_rank=0 must be a whole number of at least 1, or None"),
        ({"lora_alpha": 16}, "lora_alpha=16 does nothing with lora_rank=None; set lora_rank as well"),
        ({"lora_target_modules": ["q_proj"]}, r"lora_target_modules=\['q_proj'\] does nothing with lora_rank=None"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AEPOConfig().update_from_dict(options).validate()


def test_an_adapter_of_a_run_without_one_is_refused(reference: Any) -> None:
    with pytest.raises(ValueError, match="set lora_rank"):
        reference.algo.export_adapter("nowhere")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            MixtralConfig,
            "beside model.layers.0.mlp.gate, which is no linear map; choose of k_proj, o_proj, q_proj, v_proj",
        ),
        (MambaConfig, "'out_proj' is incompatible with Mamba-based models"),
    ],
)
def test_maps_that_a_model_reads_in_another_way_are_refused(config: Any, message: str) -> None:
    """Others of the same model may have adapters."""
    shape = config(vocab_size=32, hidden_size=64, num_hidden_layers=2, eos_token_id=1, pad_token_id=0, bos_token_id=0)
    with torch.device("meta"):
        model, other = (AutoModelForCausalLM.from_config(shape) for _ in range(2))
    with pytest.raises(ValueError, match=message):
        add_adapters(model, Lora(RANK, ALPHA))
    names = own_state(other).keys()
    add_adapters(other, Lora(RANK, ALPHA, ["in_proj" if config is MambaConfig else "q_proj"]))
    assert (base_state(other).keys(), len(adapter_weights(other, lambda tensor: tensor))) == (names, 4)
