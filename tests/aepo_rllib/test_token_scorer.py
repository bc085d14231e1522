"""`TokenScorer`: shared prompts against plain padded rows and bare models, and no figure that nobody reads."""

from __future__ import annotations

import math
from collections.abc import Collection

import pytest
import torch
from torch.distributions import Categorical
from transformers import AutoModelForCausalLM, MambaConfig, PreTrainedModel, RwkvConfig

from aepo_rllib.columns import Columns
from aepo_rllib.models.hf import load_model
from aepo_rllib.models.token_scorer import FIGURES, TokenScorer
from aepo_rllib.objectives.entropy import CORE_MASS
from tests.support.modules import ABSOLUTE_POSITIONS, SLIDING_WINDOW

Rows = list[tuple[int, int, int]]
"""(prompt index, prompt length, completion length); rows of one prompt share its index and length."""
INTERLEAVED: Rows = [(0, 9, 6), (1, 4, 1), (0, 9, 1), (2, 1, 8), (1, 4, 5), (0, 9, 3), (2, 1, 1)]
BATCHES: dict[str, Rows] = {
    "interleaved groups": INTERLEAVED,
    "one-token completions": [(index, prompt, 1) for index, prompt, _ in INTERLEAVED],
    "one prompt": [(0, 6, length) for length in (2, 7, 1)],
    "no shared prompt": [(index, 3 + 2 * index, 4) for index in range(4)],
    "indices with gaps": [(7, 5, 3), (3, 2, 4), (7, 5, 2)],
    "one row": [(0, 5, 4)],
    "parts of like lengths": [(index % 3, 2 + index % 3, 1 + 5 * index % 12) for index in range(70)],
    "an empty completion": [(0, 5, 4), (1, 3, 0), (0, 5, 0)],
}
TEMPERATURE = 1.7
MODELS = ["embedded", ABSOLUTE_POSITIONS, SLIDING_WINDOW]
Figures = dict[str, torch.Tensor]


def make_batch(rows: Rows, *, vocabulary: int = 32, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    width, length = max(row[1] for row in rows), max(row[2] for row in rows)
    prompts = {index: torch.randint(vocabulary, (size,), generator=generator) for index, size, _ in rows}
    batch = {
        Columns.PROMPT_IDS: torch.zeros(len(rows), width, dtype=torch.long),
        Columns.PROMPT_MASK: torch.zeros(len(rows), width, dtype=torch.bool),
        Columns.COMPLETION_IDS: torch.zeros(len(rows), length, dtype=torch.long),
        Columns.COMPLETION_MASK: torch.zeros(len(rows), length, dtype=torch.bool),
        Columns.PROMPT_INDEX: torch.tensor([row[0] for row in rows]),
    }
    for place, (index, size, tokens) in enumerate(rows):
        batch[Columns.PROMPT_IDS][place, width - size :] = prompts[index]
        batch[Columns.PROMPT_MASK][place, width - size :] = True
        batch[Columns.COMPLETION_IDS][place, :tokens] = torch.randint(vocabulary, (tokens,), generator=generator)
        batch[Columns.COMPLETION_MASK][place, :tokens] = True
    return batch


def load(name: str, tiny_models: dict[str, str], dtype: str = "float32") -> PreTrainedModel:
    return load_model(tiny_models.get(name, name), dtype=dtype).eval()


def figures_and_gradients(scorer: TokenScorer, batch: dict[str, torch.Tensor]) -> tuple[Figures, Figures]:
    """Figures on real tokens, and the gradient of a weighted sum of log-probs and entropies."""
    figures = scorer(batch, FIGURES, temperature=TEMPERATURE)
    mask_NT = batch[Columns.COMPLETION_MASK]
    weight_N1 = torch.linspace(-1.0, 2.0, len(mask_NT)).unsqueeze(-1)
    loss_NT = weight_N1 * (figures[Columns.POLICY_LOGP] + 0.3 * figures[Columns.ENTROPY])
    scorer.model.zero_grad()
    torch.where(mask_NT, loss_NT, 0.0).sum().backward()
    gradients = {name: p.grad.clone() for name, p in scorer.model.named_parameters() if p.grad is not None}
    return {name: figure.detach()[mask_NT] for name, figure in figures.items()}, gradients


def by_definition(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> Figures:
    """The same figures from the bare model, one row at a time and without any padding."""
    figures: dict[str, list[torch.Tensor]] = {name: [] for name in FIGURES}
    for row in range(len(batch[Columns.PROMPT_IDS])):
        prompt_ids = batch[Columns.PROMPT_IDS][row][batch[Columns.PROMPT_MASK][row]]
        completion_ids = batch[Columns.COMPLETION_IDS][row][batch[Columns.COMPLETION_MASK][row]]
        with torch.no_grad():
            ids = torch.cat([prompt_ids, completion_ids]).unsqueeze(0)
            logits_TV = model(input_ids=ids).logits[0, len(prompt_ids) - 1 : -1]
        law, heated = (Categorical(logits=logits_TV / t, validate_args=False) for t in (1.0, TEMPERATURE))
        figures[Columns.POLICY_LOGP].append(law.log_prob(completion_ids))
        figures[Columns.ENTROPY].append(law.entropy())
        figures[Columns.HEATED_LOGP].append(heated.log_prob(completion_ids))
        mean_T1 = (law.probs * logits_TV).sum(-1, keepdim=True)
        figures[Columns.LOGIT_VARIANCE].append((law.probs * (logits_TV - mean_T1).square()).sum(-1))
        figures[Columns.CORE_ENTROPY].append(law.probs.new_tensor([core_entropy(p.tolist()) for p in law.probs]))
    return {name: torch.cat(rows) for name, rows in figures.items()}


def core_entropy(probabilities: list[float]) -> float:
    """Entropy within the likeliest tokens that have at most `CORE_MASS` together, at least one."""
    core: list[float] = []
    for p in sorted(probabilities, reverse=True):
        if core and sum(core) + p > CORE_MASS:
            break
        core.append(p)
    return -sum(p / sum(core) * math.log(p / sum(core)) for p in core)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rows", BATCHES.values(), ids=BATCHES.keys())
def test_shared_prompts_equal_padded_rows_in_values_and_gradients(
    name: str, rows: Rows, tiny_models: dict[str, str]
) -> None:
    # In float64, so that rounding is left to the norms, which Llama-like models compute in float32.
    model = load(name, tiny_models, "float64")
    shared, padded = TokenScorer(model), TokenScorer(model, share_prompts=False)
    assert (shared.share_prompts, padded.share_prompts) == (True, False)
    batch = make_batch(rows)
    figures, gradients = figures_and_gradients(shared, batch)
    padded_figures, padded_gradients = figures_and_gradients(padded, batch)
    expected = by_definition(model, batch)
    assert figures.keys() == padded_figures.keys() == expected.keys()
    for column, figure in figures.items():
        torch.testing.assert_close(figure, padded_figures[column], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(figure, expected[column], atol=1e-6, rtol=1e-6)
    assert gradients.keys() == padded_gradients.keys()
    assert len(gradients) > 5
    for parameter, gradient in gradients.items():
        scale = max(1.0, padded_gradients[parameter].abs().max().item())
        torch.testing.assert_close(gradient, padded_gradients[parameter], atol=2e-6 * scale, rtol=0)


@pytest.mark.parametrize("half", [torch.bfloat16, None])
@pytest.mark.parametrize("share_prompts", [True, False])
def test_sixteen_bits_stay_near_the_weights_own_precision(half: torch.dtype | None, share_prompts: bool) -> None:
    model, batch = load_model("embedded"), make_batch(INTERLEAVED)
    expected = by_definition(model, batch)
    figures, gradients = figures_and_gradients(TokenScorer(model, half=half, share_prompts=share_prompts), batch)
    off = {name: (figure - expected[name]).abs().max().item() for name, figure in figures.items()}
    assert {figure.dtype for figure in (*figures.values(), *gradients.values())} == {torch.float32}
    assert all(1e-4 < error < 0.3 for error in off.values()) if half else all(error < 2e-4 for error in off.values())


@pytest.mark.parametrize("reads", [(), (Columns.ENTROPY,), (Columns.HEATED_LOGP, Columns.LOGIT_VARIANCE)])
def test_the_log_prob_and_what_is_read_come_back_and_only_measurements_have_no_gradient(
    reads: Collection[str],
) -> None:
    batch = make_batch(INTERLEAVED)
    figures = TokenScorer(load_model("embedded"))(batch, reads)
    assert set(figures) == {Columns.POLICY_LOGP, *reads}
    assert {tuple(figure.shape) for figure in figures.values()} == {tuple(batch[Columns.COMPLETION_IDS].shape)}
    with_gradient = {name for name, figure in figures.items() if figure.requires_grad}
    assert with_gradient == {Columns.POLICY_LOGP, *reads} - {Columns.LOGIT_VARIANCE}


@pytest.mark.parametrize("share_prompts", [True, False])
def test_log_probs_and_their_gradient_are_the_same_bits_whatever_is_read(share_prompts: bool) -> None:
    scorer, batch = TokenScorer(load_model("embedded"), share_prompts=share_prompts), make_batch(INTERLEAVED)
    mask_NT = batch[Columns.COMPLETION_MASK]
    found = []
    for reads in ((), FIGURES):
        logp_NT = scorer(batch, reads)[Columns.POLICY_LOGP]
        parameters = list(scorer.model.parameters())
        found.append([logp_NT[mask_NT], *torch.autograd.grad(logp_NT[mask_NT].sum(), parameters)])
    assert all(torch.equal(alone, together) for alone, together in zip(*found, strict=True))


def test_a_figure_that_does_not_exist_is_named() -> None:
    scorer = TokenScorer(load_model("embedded"))
    with pytest.raises(ValueError, match=r"cannot read entropi of a token; choose of .*policy_entropy"):
        scorer(make_batch(INTERLEAVED), ["entropi"])


def test_padding_ids_do_not_matter() -> None:
    scorer, batch = TokenScorer(load_model("embedded")), make_batch(INTERLEAVED)
    other = dict(batch)
    for ids, mask in ((Columns.PROMPT_IDS, Columns.PROMPT_MASK), (Columns.COMPLETION_IDS, Columns.COMPLETION_MASK)):
        other[ids] = torch.where(batch[mask], batch[ids], 31)
    mask_NT = batch[Columns.COMPLETION_MASK]
    expected, figures = scorer(batch, FIGURES), scorer(other, FIGURES)
    for column in expected:
        torch.testing.assert_close(figures[column][mask_NT], expected[column][mask_NT], atol=1e-5, rtol=1e-5)


def test_rows_keep_their_figures_in_another_order() -> None:
    scorer, batch = TokenScorer(load_model("embedded")), make_batch(INTERLEAVED)
    order = torch.tensor([6, 2, 4, 0, 5, 1, 3])
    mask_NT = batch[Columns.COMPLETION_MASK][order]
    expected = scorer(batch)[Columns.POLICY_LOGP][order]
    logp_NT = scorer({name: column[order] for name, column in batch.items()})[Columns.POLICY_LOGP]
    torch.testing.assert_close(logp_NT[mask_NT], expected[mask_NT], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("share_prompts", [True, False])
def test_rows_of_padding_alone_change_nothing_and_keep_gradients_finite(
    name: str, share_prompts: bool, tiny_models: dict[str, str]
) -> None:
    scorer = TokenScorer(load(name, tiny_models), share_prompts=share_prompts)
    batch = make_batch([*INTERLEAVED, (5, 3, 2), (5, 3, 2)])
    batch[Columns.PROMPT_MASK][-2:] = False
    batch[Columns.COMPLETION_MASK][-2:] = False
    expected, expected_gradients = figures_and_gradients(scorer, {n: c[:-2] for n, c in batch.items()})
    figures, gradients = figures_and_gradients(scorer, batch)
    for column in expected:
        torch.testing.assert_close(figures[column], expected[column], atol=1e-5, rtol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@pytest.mark.parametrize("width", [0, 3])
@pytest.mark.parametrize("share_prompts", [True, False])
def test_without_a_single_token_every_weight_still_has_its_zero_gradient(share_prompts: bool, width: int) -> None:
    # A learner without rows waits for the others' gradients, and they for its.
    scorer = TokenScorer(load_model("embedded"), share_prompts=share_prompts)
    batch = make_batch([(0, 4, width)])
    batch[Columns.COMPLETION_MASK][:] = False
    figures, gradients = figures_and_gradients(scorer, batch)
    assert {len(figure) for figure in figures.values()} == {0}
    assert len(gradients) == len(list(scorer.model.parameters()))
    assert not any(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (MambaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=2, state_size=4), "this model's attention"),
        pytest.param(
            RwkvConfig(vocab_size=32, hidden_size=16, num_hidden_layers=2, attention_hidden_size=16),
            "log-probs would be off",
            marks=pytest.mark.process,  # transformers asks for ninja
        ),
    ],
)
def test_a_model_whose_layers_mix_tokens_falls_back_to_padded_rows(
    config: MambaConfig | RwkvConfig, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(10)
    with caplog.at_level("WARNING", logger="aepo_rllib"):
        scorer = TokenScorer(model)
    assert not scorer.share_prompts
    assert f"prompts are not shared in the learner: {words}" in caplog.text
    batch = make_batch([(0, 5, 4), (0, 5, 3)])
    logp = scorer(batch)[Columns.POLICY_LOGP][batch[Columns.COMPLETION_MASK]]
    torch.testing.assert_close(logp, by_definition(model, batch)[Columns.POLICY_LOGP], atol=1e-5, rtol=1e-5)
