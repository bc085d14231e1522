"""Methods of the table against numbers of their authors' code, of verl and of TRL, and their definitions by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from aepo_rllib import GRPOConfig
from aepo_rllib.algorithms.adaptive_entropy import AdaptiveEntropyConfig
from aepo_rllib.algorithms.ce_gppo import CEGPPOConfig
from aepo_rllib.algorithms.cispo import CISPOConfig
from aepo_rllib.algorithms.clip_cov import ClipCovConfig
from aepo_rllib.algorithms.dapo import DAPOConfig
from aepo_rllib.algorithms.entropy_adv import EntropyAdvConfig
from aepo_rllib.algorithms.gpg import GPGConfig
from aepo_rllib.algorithms.kl_cov import KLCovConfig
from aepo_rllib.algorithms.maxrl import MaxRLConfig
from aepo_rllib.algorithms.opo import OPOConfig
from aepo_rllib.algorithms.pass_at_k import PassAtKConfig
from aepo_rllib.algorithms.pkpo import PKPOConfig
from aepo_rllib.algorithms.qae import QAEConfig
from aepo_rllib.algorithms.reinforce_plus_plus import ReinforcePlusPlusConfig
from aepo_rllib.algorithms.rloo import RLOOConfig
from aepo_rllib.algorithms.sapo import SAPOConfig
from aepo_rllib.algorithms.siren import SIRENConfig
from aepo_rllib.control.coefficients import SteppedCoefficient
from aepo_rllib.objectives.advantages import Graded
from aepo_rllib.objectives.at_k import best_of
from aepo_rllib.objectives.chunked_head import head_statistics
from aepo_rllib.objectives.entropy import core_log_probs, exact_entropy, token_statistics
from aepo_rllib.objectives.parts import MAIN, Tokens
from tests.support.goldens import GROUP_SIZE, golden_cases, tensor
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


@pytest.mark.parametrize("case", golden_cases("definitions", "entropy_adv"))
def test_a_shaped_advantage_is_its_definition(case: dict[str, Any]) -> None:
    mask_BT = tensor(case, "response_mask").bool()
    logp_BT = torch.zeros(mask_BT.shape, dtype=F64)  # the ratio is 1
    tokens = Tokens(logp_BT, logp_BT, tensor(case, "advantages"), mask_BT, tensor(case, "entropy").requires_grad_())
    config = EntropyAdvConfig().training(shaping_alpha=case["args"]["alpha"], shaping_kappa=case["args"]["kappa"])
    loss_BT = config.method().terms[MAIN].loss(tokens)
    assert not loss_BT.requires_grad, "the bonus carries no gradient"
    torch.testing.assert_close(-loss_BT * mask_BT, tensor(case, "shaped") * mask_BT, atol=1e-9, rtol=0)


# --- Advantages ---------------------------------------------------------------------------------------------------


def advantages(config: GRPOConfig, rewards_PG: torch.Tensor, lengths_PG: torch.Tensor | None = None) -> torch.Tensor:
    return config.method().streams[MAIN].advantage(Graded(rewards_PG, lengths_PG=lengths_PG))


GROUPS = [
    *((GPGConfig().training(counted="rewarded"), *case.values) for case in golden_cases("verl", "adv_gpg")),
    *((OPOConfig(), *case.values) for case in golden_cases("verl", "adv_opo")),
    *(
        (ReinforcePlusPlusConfig().training(group_baseline="baseline" in case.values[0]["name"]), *case.values)
        for case in golden_cases("verl", "adv_reinforce_plus_plus")
    ),
]


@pytest.mark.parametrize(("config", "case"), GROUPS, ids=lambda value: value["name"] if isinstance(value, dict) else "")
def test_advantages_of_a_method_are_verls(config: GRPOConfig, case: dict[str, Any]) -> None:
    rewards_PG, lengths_PG, expected_PG = (
        tensor(case, name).view(-1, GROUP_SIZE) for name in ("rewards", "lengths", "advantages")
    )
    torch.testing.assert_close(advantages(config, rewards_PG, lengths_PG), expected_PG, atol=case["tolerance"], rtol=0)


@pytest.mark.parametrize("case", golden_cases("passk", "passk_adv"))
def test_pass_at_k_advantages_are_the_authors(case: dict[str, Any]) -> None:
    config = PassAtKConfig().training(subset_size=case["args"]["k"])
    [advantage_G] = advantages(config, tensor(case, "rewards")[None])
    torch.testing.assert_close(advantage_G, tensor(case, "advantages"), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", golden_cases("definitions", "pkpo"))
def test_pkpos_rewards_are_their_definition(case: dict[str, Any]) -> None:
    """By the mean over all subsets."""
    rewards_n, k = tensor(case, "rewards"), case["args"]["k"]
    for name, baseline in {"s": "none", "s_loo": "loo", "s_loo_minus_one": "loo_minus_one"}.items():
        config = PKPOConfig().training(subset_size=k, subset_baseline=baseline)
        torch.testing.assert_close(advantages(config, rewards_n[None])[0], tensor(case, name), atol=1e-9, rtol=0)
    torch.testing.assert_close(best_of(rewards_n, k), tensor(case, "maxg_at_k"), atol=1e-9, rtol=0)


def test_pass_at_one_is_grpo_with_the_populations_deviation() -> None:
    rewards_PG = torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0], [0.0] * 5], dtype=F64)
    expected_G = (rewards_PG[0] - 0.6) / (0.6 * 0.4) ** 0.5
    found_PG = advantages(PassAtKConfig().training(subset_size=1), rewards_PG)
    torch.testing.assert_close(found_PG, torch.stack([expected_G, torch.zeros(5, dtype=F64)]), atol=1e-5, rtol=0)


def test_maxrl_is_the_gradient_of_the_log_of_the_success_rate() -> None:
    """Of a small policy, with a group so large that the estimate is the expectation."""
    logits_V = torch.tensor([0.3, -1.0, 0.7, 0.0], dtype=F64, requires_grad=True)
    reward_V = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=F64)
    draws_PG = torch.multinomial(
        logits_V.detach().softmax(0), 200_000, True, generator=torch.Generator().manual_seed(0)
    )
    advantage_PG = advantages(MaxRLConfig(), reward_V[draws_PG][None])
    surrogate = (advantage_PG[0] * logits_V.log_softmax(0)[draws_PG]).mean()
    (estimate_V,) = torch.autograd.grad(surrogate, logits_V)
    (exact_V,) = torch.autograd.grad((logits_V.softmax(0) * reward_V).sum().log(), logits_V)
    torch.testing.assert_close(estimate_V, exact_V, atol=5e-3, rtol=0)
    assert advantages(MaxRLConfig(), torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0] * 4])).tolist()[0] == [3, -1, -1, -1]


@pytest.mark.parametrize("correct", range(11))
@pytest.mark.parametrize("quantile", [0.4, 0.6, 0.7])
def test_a_quantile_baseline_teaches_rare_successes_or_remaining_failures(correct: int, quantile: float) -> None:
    """Equation 4 of the paper: successes alone where p <= 1 - K, failures alone where p > 1 - K."""
    rewards_PG = (torch.arange(10) < correct).to(F64)[None]
    config = QAEConfig().training(quantile=quantile, overlong_punishment=0.0)
    [advantage_G] = advantages(config, rewards_PG, torch.full((1, 10), 5))
    deviation = rewards_PG.std().item()
    hard = correct / 10 <= 1 - quantile + 1e-9
    for reward, advantage in zip(rewards_PG[0].tolist(), advantage_G.tolist(), strict=True):
        expected = (reward - (0.0 if hard else 1.0)) / deviation if deviation else 0.0
        assert advantage == pytest.approx(expected, rel=1e-4)


def test_gpg_scales_by_the_completions_of_groups_that_teach_something() -> None:
    rewards_PG = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    assert advantages(GPGConfig(), rewards_PG).tolist() == [[1.5, -1.5], [0, 0], [0, 0]]


# --- DAPO's lengths -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [*golden_cases("verl", "dapo_overlong"), *golden_cases("trl", "soft_overlong")])
def test_dapos_punishment_of_length_is_the_peers(case: dict[str, Any]) -> None:
    """Of rewards that are compared with nothing: the advantage is what an identity gives."""
    args, given = case["args"], case["inputs"]
    lengths_G = torch.tensor(given.get("valid_response_length", given.get("lengths")))
    limit, buffer = (
        args.get(verl, args.get(trl))
        for verl, trl in (("max_resp_len", "max_completion_len"), ("overlong_buffer_len", "soft_punish_cache"))
    )
    factor = args.get("penalty_factor", 1.0)
    config = DAPOConfig().sampling(max_new_tokens=limit)
    config.training(overlong_buffer=buffer / limit, overlong_punishment=factor)
    base_1G = torch.full((1, len(lengths_G)), float(args.get("base_score", 0.0)), dtype=F64)
    punished_1G = config.punished(lambda groups: groups.rewards_PG)(Graded(base_1G, lengths_PG=lengths_G[None]))
    torch.testing.assert_close(punished_1G[0], tensor(case, "reward"), atol=1e-6, rtol=0)


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


# --- What holds for all -------------------------------------------------------------------------------------------

OF_JUDGED = {
    "maxrl": MaxRLConfig(),
    "opo": OPOConfig(),
    "gpg": GPGConfig(),
    "pass_at_k": PassAtKConfig().training(subset_size=2),
    "pkpo": PKPOConfig().training(subset_size=2),
    "qae": QAEConfig().training(overlong_punishment=0.0),
    "reinforce_plus_plus": ReinforcePlusPlusConfig(),
    "with group baseline": ReinforcePlusPlusConfig().training(group_baseline=True),
    "dapo": DAPOConfig(),
}


@pytest.mark.parametrize("config", OF_JUDGED.values(), ids=OF_JUDGED)
def test_completions_that_nobody_judged_are_as_if_they_were_not_there(config: GRPOConfig) -> None:
    advantage = config.method().streams[MAIN].advantage
    rewards_PG = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 1.0]], dtype=F64)
    lengths_PG = torch.tensor([[5, 3, 60], [2, 64, 1]])
    alone_PG = advantage(Graded(rewards_PG, lengths_PG=lengths_PG))
    beside = partial(torch.nn.functional.pad, pad=(0, 1))
    together_PG = advantage(Graded(beside(rewards_PG, value=9.0), beside(rewards_PG < 2), beside(lengths_PG, value=7)))
    torch.testing.assert_close(together_PG, beside(alone_PG))
    nobody = advantage(Graded(rewards_PG, torch.zeros(2, 3, dtype=torch.bool), lengths_PG))
    assert nobody.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("config", OF_JUDGED.values(), ids=OF_JUDGED)
@pytest.mark.parametrize("reward", [0.0, 0.9, 1.0])
def test_equal_rewards_of_all_teach_nothing(config: GRPOConfig, reward: float) -> None:
    """But for lengths, which only what is longer than the buffer allows is punished for."""
    given = Graded(torch.full((3, 7), reward), lengths_PG=torch.arange(21).view(3, 7))
    assert (config.method().streams[MAIN].advantage(given) == 0).all()
