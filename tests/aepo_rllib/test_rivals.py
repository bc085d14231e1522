"""Losses, selections and laws of the table's methods against numbers of their authors' code, of verl and of TRL."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from aepo_rllib.algorithms.adaptive_entropy import AdaptiveEntropyConfig
from aepo_rllib.algorithms.ce_gppo import CEGPPOConfig
from aepo_rllib.algorithms.cispo import CISPOConfig
from aepo_rllib.algorithms.clip_cov import ClipCovConfig
from aepo_rllib.algorithms.eighty_twenty import EightyTwentyConfig
from aepo_rllib.algorithms.entropy_adv import EntropyAdvConfig
from aepo_rllib.algorithms.kl_cov import KLCovConfig
from aepo_rllib.algorithms.rloo import RLOOConfig
from aepo_rllib.algorithms.sapo import SAPOConfig
from aepo_rllib.algorithms.siren import SIRENConfig
from aepo_rllib.control.coefficients import SteppedCoefficient
from aepo_rllib.objectives.chunked_head import head_statistics
from aepo_rllib.objectives.entropy import core_log_probs, exact_entropy, token_statistics
from aepo_rllib.objectives.parts import MAIN, Tokens
from tests.support.goldens import golden_cases, tensor
from tests.support.peer_losses import Ours, assert_the_peers, loss_cases, ours

F64 = torch.float64


# --- Losses -------------------------------------------------------------------------------------------------------


def cispo(args: dict[str, Any]) -> Ours:
    """verl's bounds are 1 - low and 1 + high, TRL's is the cap itself."""
    if "epsilon_high" in args:
        return ours(CISPOConfig().training(weight_cap=args["epsilon_high"]))
    floor, cap = max(1 - args["clip_ratio_low"], 0.0), 1 + args["clip_ratio_high"]
    return ours(CISPOConfig().training(weight_floor=floor, weight_cap=cap))


def sapo(args: dict[str, Any]) -> Ours:
    config = SAPOConfig()
    assert (args.get("tau_pos", 1.0), args.get("tau_neg", 1.05)) == (config.tau_positive, config.tau_negative)
    return ours(config)


def ce_gppo(args: dict[str, Any]) -> Ours:
    config = CEGPPOConfig().training(clip_low=args["cliprange"], clip_high=args["cliprange"])
    return ours(config.training(beta_low=args["beta1"], beta_high=args["beta2"]))


def clip_cov(args: dict[str, Any]) -> Ours:
    low, high = (args.get(f"clip_ratio_{side}", args.get("cliprange")) for side in ("low", "high"))
    share = args.get("clip_cov_ratio", args["clip_ratio"])
    bounds = {"covariance_low": args["clip_cov_lb"], "covariance_high": args["clip_cov_ub"]}
    return ours(ClipCovConfig().training(clip_low=low, clip_high=high, covarying_share=share, **bounds))


def kl_cov(args: dict[str, Any]) -> Ours:
    # The authors' percentage is bounded by the number of tokens, 20 in these cases.
    share = args["kl_cov_ratio"] if "kl_cov_ratio" in args else min(args["k_percent"], 20) / 100
    return ours(KLCovConfig().training(covarying_share=share, penalty_coefficient=args["ppo_kl_coef"]))


def rloo(args: dict[str, Any]) -> Ours:
    """TRL takes the mean over completions, ours divides it by the token budget."""
    clip = {"clip_low": args["epsilon"], "clip_high": args["epsilon"]}
    return ours(RLOOConfig().training(completion_ratio=True, **clip), max_length=1)


LOSSES = [
    *loss_cases("verl", "loss_cispo", cispo),
    *loss_cases("trl", "loss_cispo", cispo),
    *loss_cases("verl", "loss_sapo", sapo),
    *loss_cases("trl", "loss_sapo", sapo),
    *loss_cases("kwai_klear", "ce_gppo", ce_gppo),
    *loss_cases("verl", "loss_clip_cov", clip_cov),
    *loss_cases("prime_entropy", "clip_cov", clip_cov),
    *loss_cases("verl", "loss_kl_cov", kl_cov),
    *loss_cases("prime_entropy", "kl_cov", kl_cov),
    *loss_cases("trl", "loss_rloo", rloo),
]


@pytest.mark.parametrize(("case", "given"), LOSSES)
def test_loss_and_gradients_of_a_method_are_the_peers(
    case: dict[str, Any], given: Ours, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Clip-Cov's numbers were drawn in order.
    monkeypatch.setattr(torch, "randperm", lambda number, generator: torch.arange(number))
    assert_the_peers(case, given)


def test_a_soft_gate_is_as_wide_as_its_temperature_says() -> None:
    """To the last digit: 1.05 is another number in 32 bits."""
    logp_BT = torch.tensor([[-0.3]], dtype=F64)
    tokens = Tokens(logp_BT, logp_BT - 0.4, torch.tensor([[-1.0]], dtype=F64), torch.tensor([[True]]))
    expected = 4 / 1.05 / (1 + math.exp(-1.05 * (math.exp(0.4) - 1)))
    assert SAPOConfig().method().terms[MAIN].loss(tokens).item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("case", golden_cases("definitions", "entropy_adv"))
def test_a_shaped_advantage_is_its_definition(case: dict[str, Any]) -> None:
    mask_BT = tensor(case, "response_mask").bool()
    logp_BT = torch.zeros(mask_BT.shape, dtype=F64)  # the ratio is 1
    tokens = Tokens(logp_BT, logp_BT, tensor(case, "advantages"), mask_BT, tensor(case, "entropy").requires_grad_())
    config = EntropyAdvConfig().training(shaping_alpha=case["args"]["alpha"], shaping_kappa=case["args"]["kappa"])
    loss_BT = config.method().terms[MAIN].loss(tokens)
    assert not loss_BT.requires_grad, "the bonus carries no gradient"
    torch.testing.assert_close(-loss_BT * mask_BT, tensor(case, "shaped") * mask_BT, atol=1e-9, rtol=0)


# --- Selections ---------------------------------------------------------------------------------------------------


def test_the_most_uncertain_tokens_are_found_among_more_than_a_quantile_of_torch_takes() -> None:
    entropy_BT = torch.arange(2**24 + 8, dtype=torch.float32).div_(2**24).view(2, -1)  # ties, where 32 bits end
    everywhere_BT = torch.ones_like(entropy_BT, dtype=torch.bool)
    select = EightyTwentyConfig().method().terms[MAIN].select
    assert select is not None
    chosen_BT = select(Tokens(entropy_BT, None, entropy_BT, everywhere_BT, entropy_BT), torch.Generator())
    assert chosen_BT.double().mean().item() == pytest.approx(0.2, abs=1e-6)


# --- Adaptive coefficient -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", golden_cases("skywork_or1", "ent_controller"))
def test_the_stepped_coefficient_is_skyworks(case: dict[str, Any]) -> None:
    args = case["args"]
    config = AdaptiveEntropyConfig()
    assert config.target_entropy == args["target_ent"]
    config.training(coefficient_step=args["delta_ent_coef"], coefficient_most=args["max_ent_coef"])
    dial = config.dial_loop().dial
    assert isinstance(dial, SteppedCoefficient)
    expected = case["outputs"]["value_and_enabled"]
    applied = [0.0, *(value * enabled for value, enabled in expected)]
    for entropy, (value, enabled), now in zip(case["inputs"]["entropy"], expected, applied, strict=False):
        assert dial.turn(entropy, args["target_ent"]) == pytest.approx(now, abs=1e-12), (
            "in effect from the next step on"
        )
        assert (dial.value, dial.below) == (pytest.approx(value, abs=1e-12), bool(enabled))


# --- SIREN's entropy ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", golden_cases("siren", "top_p_entropy"))
def test_the_entropy_of_a_core_is_sirens(case: dict[str, Any]) -> None:
    core_BTV = core_log_probs(tensor(case, "logits").log_softmax(-1), case["args"]["p"])
    torch.testing.assert_close(exact_entropy(core_BTV), tensor(case, "entropy"), atol=1e-9, rtol=0)


@pytest.mark.parametrize("case", golden_cases("siren", "mask_by_quantile"))
def test_the_most_uncertain_tokens_of_each_completion_are_sirens(case: dict[str, Any]) -> None:
    """Among its tokens; theirs are masked later. Their quantile is in float32: one at the edge may not be in."""
    mask_BT, entropy_BT = tensor(case, "response_mask").bool(), tensor(case, "entropy")
    tokens = Tokens(entropy_BT, None, entropy_BT, mask_BT, core_entropy=entropy_BT)
    select = SIRENConfig().training(uncertain_share=1 - case["args"]["lower"]).method().terms["anchored"].select
    assert select is not None
    factor_BT = select(tokens, torch.Generator())
    clear_BT = (entropy_BT - tensor(case, "lower_bound")).abs() > 1e-6
    assert clear_BT.sum() > 24
    assert torch.equal((factor_BT > 0) & clear_BT, tensor(case, "value_mask").bool() & mask_BT & clear_BT)
    chosen_BT = (factor_BT > 0).double()
    means_B = (factor_BT * entropy_BT).sum(1) / mask_BT.sum(1)
    torch.testing.assert_close(means_B, (chosen_BT * entropy_BT).sum(1) / chosen_BT.sum(1), atol=1e-9, rtol=0)


@pytest.mark.parametrize("bias", [False, True])
def test_a_core_has_the_same_entropy_and_gradient_whether_logits_exist_or_not(bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden_KD, weight_VD = (torch.randn(n, 5, generator=generator, dtype=F64).requires_grad_() for n in (7, 11))
    bias_V = torch.randn(11, generator=generator, dtype=F64).requires_grad_() if bias else None
    leaves = [leaf for leaf in (hidden_KD, weight_VD, bias_V) if leaf is not None]
    slopes_K = torch.randn(7, generator=generator, dtype=F64)
    ids_K, reads = torch.randint(11, (7,), generator=generator), ("entropy", "core_entropy")
    logits_KV = torch.nn.functional.linear(hidden_KD, weight_VD, bias_V)
    plain = token_statistics(logits_KV, ids_K, reads)
    sliced = head_statistics(hidden_KD, weight_VD, bias_V, ids_K, reads, slice_logits=25)
    for fields in (("core_entropy",), ("core_entropy", "logp"), ("core_entropy", "entropy", "logp")):
        found, expected = (
            torch.autograd.grad(sum((getattr(s, f) * slopes_K).sum() for f in fields), leaves, retain_graph=True)
            for s in (sliced, plain)
        )
        for own, others in zip(found, expected, strict=True):
            torch.testing.assert_close(own, others)
    torch.testing.assert_close(sliced.core_entropy, plain.core_entropy)
    assert (sliced.core_entropy < sliced.entropy).all()
    core_KV = logits_KV.detach().log_softmax(-1).requires_grad_()
    assert torch.autograd.gradcheck(lambda logp_KV: exact_entropy(core_log_probs(logp_KV.log_softmax(-1))), core_KV)


def test_the_loss_of_a_completion_is_not_divided_by_its_length_twice() -> None:
    config = RLOOConfig().training(completion_ratio=True, aggregation="seq-mean-token-mean")
    with pytest.raises(ValueError, match="aggregation='seq-mean-token-mean' with completion_ratio=True"):
        config.validate()
    RLOOConfig().training(completion_ratio=True, aggregation="token-mean").validate()
