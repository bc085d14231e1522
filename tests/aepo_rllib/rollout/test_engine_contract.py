"""What every rollout engine promises, tested through its interface on the embedded model.

A new engine joins by its name in `ENGINES_UNDER_TEST`. One of your own is held to it by

    ENGINE_UNDER_TEST=path/to/file.py:Class python -m pytest tests/aepo_rllib/rollout/test_engine_contract.py

whatever `engine_class` takes. Recomputations come from a second copy of the model: the learner's module.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aepo_rllib.columns import Columns
from aepo_rllib.experience.rows import Row, columns_of
from aepo_rllib.learning.rl_module import CausalLMModule
from aepo_rllib.models.hf import load_model, load_tokenizer
from aepo_rllib.objectives.entropy import token_statistics
from aepo_rllib.rollout import (
    Completion,
    FinishReason,
    Prompt,
    RolloutEngine,
    SamplingFilters,
    engine_class,
    make_engine,
)
from tests.support.modules import ABSOLUTE_POSITIONS, SLIDING_WINDOW

HAS_VLLM = importlib.util.find_spec("vllm") is not None
PLAIN = f"{Path(__file__).parents[3] / 'examples' / 'own_engine.py'}:PlainEngine"
ENGINES_UNDER_TEST = [
    "transformers",
    pytest.param("vllm", marks=pytest.mark.skipif(not HAS_VLLM, reason="no vLLM")),
    pytest.param(PLAIN, id="own_engine.py"),
]
if given := os.environ.get("ENGINE_UNDER_TEST"):
    ENGINES_UNDER_TEST = [given]
SMALL_WAVES: dict[str, dict[str, Any]] = {
    "transformers": {"max_tokens_in_flight": 300},
    "vllm": {"max_num_seqs": 5},
    PLAIN: {"max_rows": 5},
}
"""Options that make an engine sample few completions at a time."""
TOLERANCE = 1e-4
EOS = 1
VOCABULARY = 75
TEXTS = ["Make 24 from 3 8 5", "Make 7 from 3 4", "Make 100 from 5 20 7 11"]


@pytest.fixture(scope="module", params=ENGINES_UNDER_TEST)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


class Engines:
    """Engines of one kind. Some allow one at a time in a process; opening the next then closes the one before."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._open: dict[str, RolloutEngine] = {}

    def shared(self) -> RolloutEngine:
        """An engine of the embedded model that nobody changes."""
        if "shared" not in self._open:
            self._open["shared"] = self.make("embedded")
        return self._open["shared"]

    def make(self, model: str, **options: Any) -> RolloutEngine:
        """A fresh engine; the test closes it."""
        if engine_class(self.name).one_per_process:
            self.close()
        return make_engine(self.name, model, **options)

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


@pytest.fixture(scope="module")
def engines(name: str) -> Iterator[Engines]:
    engines = Engines(name)
    yield engines
    engines.close()


@pytest.fixture
def engine(engines: Engines) -> RolloutEngine:
    return engines.shared()


@pytest.fixture(scope="module")
def prompt_ids() -> list[list[int]]:
    """Prompts of 5, 7 and 10 tokens or so: a batch of them needs padding."""
    tokenizer = load_tokenizer("embedded")
    encoded = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    assert len({len(ids) for ids in encoded}) == len(TEXTS)
    return encoded


def prompts_of(
    prompt_ids: Sequence[list[int]], *, samples: int = 6, seed: int = 0, temperature: float = 1.0
) -> list[Prompt]:
    return [
        Prompt(ids, [(seed, slot, sample) for sample in range(samples)], temperature)
        for slot, ids in enumerate(prompt_ids)
    ]


def sample(engine: RolloutEngine, prompts: Sequence[Prompt], **options: Any) -> list[list[Completion]]:
    return engine.generate(prompts, **({"max_new_tokens": 48, "stop_ids": [EOS]} | options))


def paired(prompts: Sequence[Prompt], groups: list[list[Completion]]) -> list[tuple[Prompt, Completion]]:
    return [
        (prompt, completion)
        for prompt, group in zip(prompts, groups, strict=True)
        for completion in group
    ]  # fmt: skip


def exact_logits(module: CausalLMModule, prompt: Prompt, completion: Completion) -> torch.Tensor:
    """Float64 logits (tokens, V) that the completion's tokens were drawn from, without any padding or cache."""
    ids = torch.tensor([[*prompt.token_ids, *completion.token_ids.tolist()]])
    with torch.no_grad():
        return module.model(input_ids=ids).logits[0, len(prompt.token_ids) - 1 : -1].double()


def next_token_logp(engine: RolloutEngine, ids: Sequence[int]) -> np.ndarray:
    """log pi of every token after `ids`, from the engine itself."""
    return np.array(
        [logp[0] for logp in engine.log_probs([(ids, [token]) for token in range(VOCABULARY)])], dtype=float
    )


def assert_same(left: Completion, right: Completion) -> None:
    assert left.token_ids.tolist() == right.token_ids.tolist()
    assert left.finish_reason is right.finish_reason
    np.testing.assert_allclose(left.policy_logp, right.policy_logp, atol=TOLERANCE)


# --- Shape of the answer ----------------------------------------------------------------------------------------


def test_completions_come_per_prompt_and_key_with_one_figure_per_token(engine: RolloutEngine, prompt_ids: list) -> None:
    keys = [[(0, 0)], [], [(2, 0), (2, 1), (2, 2)]]
    groups = sample(engine, [Prompt(ids, k) for ids, k in zip(prompt_ids, keys, strict=True)])
    assert [len(group) for group in groups] == [1, 0, 3]
    for completion in chain.from_iterable(groups):
        assert completion.token_ids.dtype == np.int64
        assert 1 <= len(completion) <= 48
        figures = [completion.policy_logp, completion.behavior_logp, completion.entropy, completion.logit_variance]
        assert all(figure.shape == completion.token_ids.shape for figure in figures if figure is not None)
        assert (completion.policy_logp <= 0).all()
    assert sample(engine, []) == []


def test_every_completion_is_told_of_once_when_it_has_ended(engines: Engines, prompt_ids: list) -> None:
    """In waves, too; the shorter before the longer; and what the listener raises ends the call, and no more."""
    engine = engines.make("embedded", **SMALL_WAVES.get(engines.name, {}))
    if not engine.tells_ends:
        pytest.skip("it does not tell")
    prompts = prompts_of(prompt_ids, samples=3)
    told: list[tuple[int, int, list[int], FinishReason]] = []

    def note(prompt: int, place: int, token_ids: np.ndarray, reason: FinishReason) -> None:
        assert not torch.is_inference_mode_enabled()
        told.append((prompt, place, token_ids.tolist(), reason))

    groups = sample(engine, prompts, max_new_tokens=16, ended=note)
    expected = [
        (prompt, place, completion.token_ids.tolist(), completion.finish_reason)
        for prompt, group in enumerate(groups)
        for place, completion in enumerate(group)
    ]
    assert {reason for *_, reason in told} == set(FinishReason)
    assert sorted(told) == sorted(expected) != told

    def refuse(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(engine, prompts, ended=refuse)
    again = sample(engine, prompts, max_new_tokens=16)
    for left, right in zip(chain.from_iterable(groups), chain.from_iterable(again), strict=True):
        assert_same(left, right)
    engine.close()


# --- Log-probs and entropy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 1.3])
def test_policy_logp_is_the_policys_at_every_temperature(
    engine: RolloutEngine, module: CausalLMModule, prompt_ids: list, temperature: float
) -> None:
    prompts = prompts_of(prompt_ids, temperature=temperature)
    pairs = paired(prompts, sample(engine, prompts))
    recomputed = engine.log_probs([(prompt.token_ids, completion.token_ids.tolist()) for prompt, completion in pairs])
    rows = [Row(prompt.token_ids, c.token_ids, c.policy_logp, 1.0, 0) for prompt, c in pairs]
    batch = {column: torch.from_numpy(values) for column, values in columns_of(rows).items()}
    with torch.no_grad():
        learners = module.forward_train(batch)[Columns.POLICY_LOGP].numpy()
    for (_, completion), logp, learner_row in zip(pairs, recomputed, learners, strict=True):
        assert np.abs(completion.policy_logp - logp).max() < TOLERANCE
        assert np.abs(completion.policy_logp - learner_row[: len(completion)]).max() < TOLERANCE


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.4])
def test_behavior_logp_is_that_of_the_tempered_law(
    engine: RolloutEngine, module: CausalLMModule, prompt_ids: list, temperature: float
) -> None:
    prompts = prompts_of(prompt_ids, temperature=temperature)
    pairs = paired(prompts, sample(engine, prompts))
    if pairs[0][1].behavior_logp is None:
        pytest.skip("this engine does not tell the law it sampled from")
    for prompt, completion in pairs:
        law = (exact_logits(module, prompt, completion) / temperature).log_softmax(-1)
        expected = law[range(len(completion)), completion.token_ids].numpy()
        np.testing.assert_allclose(completion.behavior_logp, expected, atol=TOLERANCE)


def test_prompts_of_one_batch_keep_their_own_temperatures(
    engine: RolloutEngine, module: CausalLMModule, prompt_ids: list
) -> None:
    prompts = [
        Prompt(ids, [(0, slot, sample) for sample in range(6)], temperature)
        for slot, (ids, temperature) in enumerate(zip(prompt_ids, (0.5, 1.0, 2.0), strict=True))
    ]
    pairs = paired(prompts, sample(engine, prompts))
    if pairs[0][1].behavior_logp is None:
        pytest.skip("this engine does not tell the law it sampled from")
    for prompt, completion in pairs:
        law = (exact_logits(module, prompt, completion) / prompt.temperature).log_softmax(-1)
        expected = law[range(len(completion)), completion.token_ids].numpy()
        np.testing.assert_allclose(completion.behavior_logp, expected, atol=TOLERANCE)


@pytest.mark.parametrize("temperature", [0.7, 1.4])
def test_gaps_of_behavior_logp_scale_with_one_over_temperature(
    engine: RolloutEngine, prompt_ids: list, temperature: float
) -> None:
    (group,) = sample(engine, prompts_of(prompt_ids[:1], samples=200, temperature=temperature), max_new_tokens=1)
    if group[0].behavior_logp is None:
        pytest.skip("this engine does not tell the law it sampled from")
    policy = np.array([completion.policy_logp[0] for completion in group])
    behavior = np.array([completion.behavior_logp[0] for completion in group])
    assert np.ptp(policy) > 0.5
    np.testing.assert_allclose(behavior - behavior[0], (policy - policy[0]) / temperature, atol=TOLERANCE)


def test_behavior_logp_includes_the_filters(engine: RolloutEngine, module: CausalLMModule, prompt_ids: list) -> None:
    prompts = prompts_of(prompt_ids, temperature=1.2)
    pairs = paired(prompts, sample(engine, prompts, filters=SamplingFilters(top_k=3)))
    if pairs[0][1].behavior_logp is None:
        pytest.skip("this engine does not tell the law it sampled from")
    for prompt, completion in pairs:
        logits = exact_logits(module, prompt, completion)
        top = logits.topk(3).values / 1.2
        picked = logits[range(len(completion)), completion.token_ids] / 1.2
        np.testing.assert_allclose(completion.behavior_logp, picked - top.logsumexp(-1), atol=TOLERANCE)
        unfiltered = logits.log_softmax(-1)[range(len(completion)), completion.token_ids]
        np.testing.assert_allclose(completion.policy_logp, unfiltered, atol=TOLERANCE)


@pytest.mark.parametrize("temperature", [1.0, 1.3])
def test_entropy_and_variance_are_exact_and_those_of_the_policy(
    engine: RolloutEngine, module: CausalLMModule, prompt_ids: list, temperature: float
) -> None:
    prompts = prompts_of(prompt_ids, temperature=temperature)
    for prompt, completion in paired(prompts, sample(engine, prompts)):
        if not engine.exact_entropy:
            assert completion.entropy is None
            continue
        logits = exact_logits(module, prompt, completion)
        expected = token_statistics(logits.unsqueeze(0), torch.from_numpy(completion.token_ids).unsqueeze(0))
        np.testing.assert_allclose(completion.entropy, expected.entropy[0], atol=TOLERANCE)
        np.testing.assert_allclose(completion.logit_variance, expected.logit_variance[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("model", [ABSOLUTE_POSITIONS, SLIDING_WINDOW])
def test_padding_and_caches_are_right_for_other_architectures(
    engines: Engines, model: str, engine_models: dict[str, str]
) -> None:
    engine = engines.make(engine_models[model])
    prompts = prompts_of([list(range(2, 14)), [5, 6, 7], [9]], samples=8)
    pairs = paired(prompts, sample(engine, prompts, max_new_tokens=20))
    recomputed = engine.log_probs([(prompt.token_ids, completion.token_ids.tolist()) for prompt, completion in pairs])
    assert len({len(completion) for _, completion in pairs}) > 3, "no row ended before the others"
    for (_, completion), logp in zip(pairs, recomputed, strict=True):
        assert np.abs(completion.policy_logp - logp).max() < TOLERANCE
    engine.close()


# --- How completions end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_new_tokens", [1, 12, 60])
@pytest.mark.parametrize("extra_stops", [[], [3, 40, 45]])
def test_a_completion_ends_at_its_first_stop_id_or_at_the_budget(
    engine: RolloutEngine, prompt_ids: list, max_new_tokens: int, extra_stops: list[int]
) -> None:
    stop_ids = [EOS, *extra_stops]
    prompts = prompts_of(prompt_ids, samples=24)
    completions = list(chain.from_iterable(sample(engine, prompts, max_new_tokens=max_new_tokens, stop_ids=stop_ids)))
    for completion in completions:
        *before, last = completion.token_ids.tolist()
        assert not set(before) & set(stop_ids)
        if completion.finish_reason is FinishReason.EOS:
            assert last in stop_ids
        else:
            assert completion.finish_reason is FinishReason.LENGTH
            assert last not in stop_ids
            assert len(completion) == max_new_tokens
    reasons = {completion.finish_reason for completion in completions}
    assert FinishReason.EOS in reasons or max_new_tokens < 60
    assert FinishReason.LENGTH in reasons or max_new_tokens == 60
    if extra_stops and max_new_tokens == 60:
        assert len({completion.token_ids[-1] for completion in completions}) > 1, "only one stop id was ever used"


def test_a_stop_id_as_the_last_token_of_the_budget_is_an_end_not_a_cut(engine: RolloutEngine, prompt_ids: list) -> None:
    for completion in chain.from_iterable(
        sample(engine, prompts_of(prompt_ids), max_new_tokens=1, stop_ids=range(VOCABULARY))
    ):
        assert len(completion) == 1
        assert completion.finish_reason is FinishReason.EOS


def test_without_stop_ids_every_completion_takes_the_whole_budget(engine: RolloutEngine, prompt_ids: list) -> None:
    for completion in chain.from_iterable(sample(engine, prompts_of(prompt_ids), max_new_tokens=20, stop_ids=[])):
        assert len(completion) == 20
        assert completion.finish_reason is FinishReason.LENGTH


# --- Reproducibility --------------------------------------------------------------------------------------------


@pytest.fixture
def reproducible(engine: RolloutEngine) -> RolloutEngine:
    if not engine.reproducible:
        pytest.skip("this engine does not promise equal completions for equal keys")
    return engine


def test_equal_keys_reproduce_exactly(reproducible: RolloutEngine, prompt_ids: list) -> None:
    prompts = prompts_of(prompt_ids)
    for left, right in zip(
        chain.from_iterable(sample(reproducible, prompts)),
        chain.from_iterable(sample(reproducible, prompts)),
        strict=True,
    ):
        assert left.token_ids.tolist() == right.token_ids.tolist()
        assert left.policy_logp.tolist() == right.policy_logp.tolist()


def test_a_completion_is_the_same_alone_and_among_others(reproducible: RolloutEngine, prompt_ids: list) -> None:
    prompts = [
        Prompt(ids, [(3, slot, sample) for sample in range(4)], temperature)
        for slot, (ids, temperature) in enumerate(zip(prompt_ids, (0.8, 1.0, 1.3), strict=True))
    ]
    together = sample(reproducible, prompts)
    for prompt, group in zip(prompts, together, strict=True):
        for key, completion in zip(prompt.keys, group, strict=True):
            ((alone,),) = sample(reproducible, [Prompt(prompt.token_ids, [key], prompt.temperature)])
            assert_same(alone, completion)


def test_order_does_not_matter(reproducible: RolloutEngine, prompt_ids: list) -> None:
    prompts = prompts_of(prompt_ids)
    turned = [Prompt(prompt.token_ids, prompt.keys[::-1], prompt.temperature) for prompt in prompts[::-1]]
    expected = [group[::-1] for group in sample(reproducible, turned)[::-1]]
    for left, right in zip(
        chain.from_iterable(sample(reproducible, prompts)), chain.from_iterable(expected), strict=True
    ):
        assert_same(left, right)


def test_the_number_of_completions_sampled_at_a_time_does_not_matter(
    reproducible: RolloutEngine, engines: Engines, prompt_ids: list
) -> None:
    prompts = prompts_of(prompt_ids, samples=7)
    many = sample(reproducible, prompts)
    if engines.name not in SMALL_WAVES:
        pytest.skip("which option of this engine makes it sample few completions at a time is not known here")
    small = engines.make("embedded", **SMALL_WAVES[engines.name])
    for left, right in zip(chain.from_iterable(many), chain.from_iterable(sample(small, prompts)), strict=True):
        assert_same(left, right)
    small.close()


def test_a_smaller_budget_cuts_the_same_completion(reproducible: RolloutEngine, prompt_ids: list) -> None:
    prompts = prompts_of(prompt_ids)
    for long, short in zip(
        chain.from_iterable(sample(reproducible, prompts)),
        chain.from_iterable(sample(reproducible, prompts, max_new_tokens=9)),
        strict=True,
    ):
        assert short.token_ids.tolist() == long.token_ids[:9].tolist()


def test_one_prompt_in_two_places_keeps_its_keys_apart(reproducible: RolloutEngine, prompt_ids: list) -> None:
    ids = prompt_ids[0]
    first, second = sample(reproducible, [Prompt(ids, [(0, 0), (0, 1)]), Prompt(ids, [(0, 1), (9, 9)])])
    assert_same(first[1], second[0])
    assert first[0].token_ids.tolist() != first[1].token_ids.tolist()


# --- The law that tokens are drawn from -------------------------------------------------------------------------


def assert_frequencies(tokens: np.ndarray, law: np.ndarray) -> None:
    """Every frequency within 5 standard errors, and their chi-square within 5 of its own."""
    counts = np.bincount(tokens, minlength=len(law))
    expected = len(tokens) * law
    assert (counts[law == 0] == 0).all(), "an impossible token was drawn"
    deviation = np.abs(counts - expected)
    assert (deviation <= 5 * np.sqrt(expected * (1 - law)) + 1).all()
    common = expected >= 5
    cells = [*zip(counts[common], expected[common], strict=True), (counts[~common].sum(), expected[~common].sum())]
    chi_square = sum((count - mean) ** 2 / mean for count, mean in cells if mean > 1)
    freedom = len(cells) - 1
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom) + 5


@pytest.mark.parametrize(
    ("temperature", "filters"),
    [
        (0.7, SamplingFilters()),
        (1.0, SamplingFilters()),
        (1.4, SamplingFilters()),
        (1.0, SamplingFilters(top_p=0.8)),
        (1.4, SamplingFilters(top_p=0.9)),
        (1.4, SamplingFilters(top_k=4)),
    ],
    ids=str,
)
def test_frequencies_are_the_exact_probabilities(
    engine: RolloutEngine, prompt_ids: list, temperature: float, filters: SamplingFilters
) -> None:
    def exact_law(ids: Sequence[int]) -> np.ndarray:
        weights = np.exp(next_token_logp(engine, ids) / temperature)
        law = weights / weights.sum()
        ranked = np.argsort(-law)
        mass_before = np.cumsum(law[ranked]) - law[ranked]
        law[ranked[mass_before >= filters.top_p]] = 0.0
        if filters.top_k:
            law[ranked[filters.top_k :]] = 0.0
        return law / law.sum()

    ids = prompt_ids[0]
    prompts = prompts_of([ids], samples=4000, temperature=temperature)
    (group,) = sample(engine, prompts, max_new_tokens=2, stop_ids=[], filters=filters)
    tokens = np.array([completion.token_ids for completion in group])
    assert_frequencies(tokens[:, 0], exact_law(ids))
    most_common = int(np.bincount(tokens[:, 0]).argmax())
    assert_frequencies(tokens[tokens[:, 0] == most_common, 1], exact_law([*ids, most_common]))


def test_mean_surprisal_estimates_the_exact_entropy(engine: RolloutEngine, prompt_ids: list) -> None:
    if not engine.exact_entropy:
        pytest.skip("this engine gives no exact entropy")
    completions = list(chain.from_iterable(sample(engine, prompts_of(prompt_ids, samples=150))))
    # Sums per completion are independent of each other; their differences have mean 0.
    differences = np.array([(-c.policy_logp - c.entropy).sum() for c in completions])
    assert abs(differences.mean()) < 5 * differences.std() / len(differences) ** 0.5


def test_different_keys_are_independent(engine: RolloutEngine, prompt_ids: list) -> None:
    """Two streams agree on the first token as often as two independent draws do."""
    ids, draws = prompt_ids[0], 4000
    (first,), (second,) = (
        sample(engine, [Prompt(ids, [(stream, sample) for sample in range(draws)])], max_new_tokens=1)
        for stream in (0, 1)
    )
    equal = np.mean([a.token_ids[0] == b.token_ids[0] for a, b in zip(first, second, strict=True)])
    expected = np.exp(2 * next_token_logp(engine, ids)).sum()
    assert abs(equal - expected) < 5 * (expected * (1 - expected) / draws) ** 0.5


# --- Weights ----------------------------------------------------------------------------------------------------


def perturbed_model(scale: float = 0.05) -> Any:
    model = load_model("embedded")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def test_new_weights_change_the_law_and_nothing_of_the_old_remains(
    engines: Engines, prompt_ids: list, tmp_path: Any
) -> None:
    model = perturbed_model()
    model.save_pretrained(tmp_path)
    prompts = prompts_of(prompt_ids)
    old_pairs = paired(prompts, sample(engines.shared(), prompts))
    sequences = [(prompt.token_ids, completion.token_ids.tolist()) for prompt, completion in old_pairs]
    fresh = engines.make(str(tmp_path))
    expected_logp, expected_pairs = fresh.log_probs(sequences), paired(prompts, sample(fresh, prompts))
    fresh.close()

    updated = engines.make("embedded")
    sample(updated, prompts)  # fills whatever the engine may cache
    old_logp = updated.log_probs(sequences)
    assert updated.weights_version == 0

    updated.update_weights(model.state_dict(), version=7)

    assert updated.weights_version == 7
    new_logp = updated.log_probs(sequences)
    assert max(np.abs(new - before).max() for new, before in zip(new_logp, old_logp, strict=True)) > 0.1
    for new, expected in zip(new_logp, expected_logp, strict=True):
        np.testing.assert_allclose(new, expected, atol=1e-5)
    new_pairs = paired(prompts, sample(updated, prompts))
    for (_, left), (_, right) in zip(new_pairs, expected_pairs, strict=True):
        if updated.reproducible:
            assert_same(left, right)
    logp_of_new = updated.log_probs([(prompt.token_ids, c.token_ids.tolist()) for prompt, c in new_pairs])
    for (_, completion), logp in zip(new_pairs, logp_of_new, strict=True):
        assert np.abs(completion.policy_logp - logp).max() < TOLERANCE
    updated.close()


def test_weights_in_place_are_copied_not_shared(engines: Engines, prompt_ids: list) -> None:
    engine, model = engines.make("embedded"), perturbed_model()
    engine.update_weights(model.state_dict(), version=1)
    sequences = [(prompt_ids[0], [5, 6])]
    (before,) = engine.log_probs(sequences)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    (after,) = engine.log_probs(sequences)
    assert before.tolist() == after.tolist()
    engine.close()


def test_weights_may_come_as_arrays(engines: Engines, prompt_ids: list) -> None:
    engine, model = engines.make("embedded"), perturbed_model()
    engine.update_weights({name: tensor.numpy() for name, tensor in model.state_dict().items()}, version=1)
    ids = torch.tensor([[*prompt_ids[0], 5]])
    with torch.no_grad():
        expected = model(input_ids=ids).logits[0, -2].log_softmax(-1)[5].item()
    assert engine.log_probs([(prompt_ids[0], [5])])[0][0] == pytest.approx(expected, abs=1e-5)
    engine.close()


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_incomplete_or_unknown_weights_are_refused(engines: Engines, change: str) -> None:
    engine = engines.make("embedded")
    state = dict(load_model("embedded").state_dict())
    if change == "missing":
        del state["model.norm.weight"]
    else:
        state["model.surplus.weight"] = torch.zeros(1)
    with pytest.raises((RuntimeError, ValueError, KeyError)):
        engine.update_weights(state, version=3)
    assert engine.weights_version == 0
    engine.close()


# --- Errors and housekeeping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_above_zero_is_refused(engine: RolloutEngine, temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        sample(engine, [Prompt([3, 4], [(0,)], temperature)])


def test_an_empty_prompt_is_refused(engine: RolloutEngine) -> None:
    with pytest.raises(ValueError, match="empty prompt"):
        sample(engine, [Prompt([3, 4], [(0,)]), Prompt([], [(1,)])])


def test_prompt_and_budget_must_fit_the_context(engine: RolloutEngine, prompt_ids: list) -> None:
    room = 512 - len(prompt_ids[0])
    with pytest.raises(ValueError, match="context is 512"):
        sample(engine, prompts_of(prompt_ids[:1], samples=1), max_new_tokens=room + 1)
    everything_stops = {"max_new_tokens": room, "stop_ids": range(VOCABULARY)}
    ((completion,),) = sample(engine, prompts_of(prompt_ids[:1], samples=1), **everything_stops)
    assert len(completion) == 1


def test_sleep_and_wake_change_nothing(engine: RolloutEngine, prompt_ids: list) -> None:
    sequences = [(prompt_ids[0], [5, 6, 7])]
    (before,) = engine.log_probs(sequences)
    engine.sleep()
    engine.sleep()
    state = load_model("embedded").state_dict()
    for ask in (
        lambda: sample(engine, prompts_of(prompt_ids)),
        lambda: engine.log_probs(sequences),
        lambda: engine.update_weights(state, version=5),
    ):
        with pytest.raises(RuntimeError, match="is asleep; wake it first"):
            ask()
    engine.wake()
    engine.wake()
    (after,) = engine.log_probs(sequences)
    assert before.tolist() == after.tolist()


def test_unknown_engines_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown rollout engine 'fast'; known: transformers, vllm, or module:class"):
        engine_class("fast")
