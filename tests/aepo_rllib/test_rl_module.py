"""`CausalLMModule`: shared prompts against plain padded rows, and one policy whatever the mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from modules import ABSOLUTE_POSITIONS, SLIDING_WINDOW, build_module

from aepo_rllib.columns import Columns
from aepo_rllib.learning.rl_module import CausalLMModule
from aepo_rllib.objectives.entropy import TokenStatistics, token_statistics
from aepo_rllib.objectives.losses import weighted_sum

# (prompt index, prompt length, completion length) of every row; rows of one prompt share its index and length.
INTERLEAVED = [(0, 9, 6), (1, 4, 1), (0, 9, 1), (2, 1, 8), (1, 4, 5), (0, 9, 3), (2, 1, 1)]
BATCHES = {
    "interleaved groups": INTERLEAVED,
    "one-token completions": [(index, prompt, 1) for index, prompt, _ in INTERLEAVED],
    "one prompt": [(0, 6, length) for length in (2, 7, 1)],
    "no shared prompt": [(index, 3 + 2 * index, 4) for index in range(4)],
    "indices with gaps": [(7, 5, 3), (3, 2, 4), (7, 5, 2)],
    "one row": [(0, 5, 4)],
}


def make_batch(rows: list[tuple[int, int, int]], *, vocabulary: int = 32, seed: int = 0) -> dict[str, torch.Tensor]:
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


def outputs_and_gradients(
    module: CausalLMModule, batch: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Figures on real tokens, and the gradient of a weighted sum of log-probs."""
    output = module.forward_train(batch)
    mask_NT = batch[Columns.COMPLETION_MASK]
    weight_N = torch.linspace(-1.0, 2.0, len(mask_NT))
    module.zero_grad()
    weighted_sum(output[Columns.POLICY_LOGP], mask_NT, weight_N).backward()
    gradients = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    return {name: figure.detach()[mask_NT] for name, figure in output.items()}, gradients


def one_row_at_a_time(module: CausalLMModule, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same figures from the bare model, without any padding."""
    figures = []
    for row in range(len(batch[Columns.PROMPT_IDS])):
        prompt_ids = batch[Columns.PROMPT_IDS][row][batch[Columns.PROMPT_MASK][row]]
        completion_ids = batch[Columns.COMPLETION_IDS][row][batch[Columns.COMPLETION_MASK][row]]
        ids = torch.cat([prompt_ids, completion_ids]).unsqueeze(0)
        with torch.no_grad():
            logits = module.model(input_ids=ids).logits[:, len(prompt_ids) - 1 : -1]
        figures.append(token_statistics(logits, completion_ids.unsqueeze(0)))
    names = (Columns.POLICY_LOGP, Columns.ENTROPY, Columns.LOGIT_VARIANCE)
    return {name: torch.cat([row[i][0] for row in figures]) for i, name in enumerate(names)}


def model_folder(name: str, tiny_models: dict[str, str]) -> str:
    return tiny_models.get(name, name)


@pytest.mark.parametrize("name", ["embedded", ABSOLUTE_POSITIONS, SLIDING_WINDOW])
@pytest.mark.parametrize("rows", BATCHES.values(), ids=BATCHES.keys())
def test_shared_prompts_equal_padded_rows_in_values_and_gradients(
    name: str, rows: list[tuple[int, int, int]], tiny_models: dict[str, str]
) -> None:
    # In float64, so that rounding is left to the norms, which Llama-like models compute in float32.
    shared = build_module(model_folder(name, tiny_models), dtype="float64")
    padded = build_module(model_folder(name, tiny_models), dtype="float64", share_prompts=False)
    assert shared.share_prompts
    assert not padded.share_prompts
    batch = make_batch(rows)
    values, gradients = outputs_and_gradients(shared, batch)
    padded_values, padded_gradients = outputs_and_gradients(padded, batch)
    plain_values = one_row_at_a_time(padded, batch)
    for column, value in values.items():
        torch.testing.assert_close(value, padded_values[column], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(value, plain_values[column], atol=1e-6, rtol=1e-6)
    assert gradients.keys() == padded_gradients.keys()
    assert len(gradients) > 5
    for parameter, gradient in gradients.items():
        scale = max(1.0, padded_gradients[parameter].abs().max().item())
        torch.testing.assert_close(gradient, padded_gradients[parameter], atol=2e-6 * scale, rtol=0)


def test_padding_ids_do_not_matter(module: CausalLMModule) -> None:
    batch = make_batch(INTERLEAVED)
    other = dict(batch)
    for ids, mask in ((Columns.PROMPT_IDS, Columns.PROMPT_MASK), (Columns.COMPLETION_IDS, Columns.COMPLETION_MASK)):
        other[ids] = torch.where(batch[mask], batch[ids], 31)
    mask_NT = batch[Columns.COMPLETION_MASK]
    expected, output = module.forward_train(batch), module.forward_train(other)
    for column in expected:
        torch.testing.assert_close(output[column][mask_NT], expected[column][mask_NT], atol=1e-5, rtol=1e-5)


def test_rows_keep_their_figures_in_another_order(module: CausalLMModule) -> None:
    batch = make_batch(INTERLEAVED)
    order = torch.tensor([6, 2, 4, 0, 5, 1, 3])
    mask_NT = batch[Columns.COMPLETION_MASK][order]
    expected = module.forward_train(batch)[Columns.POLICY_LOGP][order]
    output = module.forward_train({name: column[order] for name, column in batch.items()})[Columns.POLICY_LOGP]
    torch.testing.assert_close(output[mask_NT], expected[mask_NT], atol=1e-5, rtol=1e-5)


def test_forward_returns_figures_per_token_and_no_logits(module: CausalLMModule) -> None:
    batch = make_batch(INTERLEAVED)
    for forward in (module.forward_train, module.forward_inference, module.forward_exploration):
        output = forward(batch)
        assert set(output) == {Columns.POLICY_LOGP, Columns.ENTROPY, Columns.LOGIT_VARIANCE}
        assert {tuple(figure.shape) for figure in output.values()} == {tuple(batch[Columns.COMPLETION_IDS].shape)}
    assert module.forward_train(batch)[Columns.POLICY_LOGP].requires_grad


def test_training_mode_keeps_dropout_off(tiny_models: dict[str, str]) -> None:
    module = build_module(tiny_models[ABSOLUTE_POSITIONS])
    assert module.model.config.resid_pdrop > 0
    batch = make_batch(INTERLEAVED)
    expected = module.eval().forward_train(batch)[Columns.POLICY_LOGP]
    assert module.train() is module
    assert module.training
    for _ in range(2):
        assert torch.equal(module.forward_train(batch)[Columns.POLICY_LOGP], expected)


@pytest.mark.parametrize("failure", [NotImplementedError("no"), None])
def test_a_cache_that_cannot_share_falls_back_to_padded_rows(
    failure: Exception | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shared = CausalLMModule._shared_statistics

    def broken(self: CausalLMModule, batch: dict[str, Any]) -> TokenStatistics:
        if failure:
            raise failure
        return TokenStatistics(*(figure + 0.01 for figure in shared(self, batch)))

    monkeypatch.setattr(CausalLMModule, "_shared_statistics", broken)
    with caplog.at_level("WARNING", logger="aepo_rllib"):
        module = build_module("embedded")
    assert not module.share_prompts
    assert "not shared" in caplog.text
    batch = make_batch(INTERLEAVED)
    plain = one_row_at_a_time(module, batch)[Columns.POLICY_LOGP]
    output = module.forward_train(batch)[Columns.POLICY_LOGP][batch[Columns.COMPLETION_MASK]]
    torch.testing.assert_close(output, plain, atol=1e-5, rtol=1e-5)


def test_state_carries_the_names_of_the_hugging_face_model(module: CausalLMModule) -> None:
    state = CausalLMModule.hf_state(module.get_state())
    assert set(state) == set(module.model.state_dict())
