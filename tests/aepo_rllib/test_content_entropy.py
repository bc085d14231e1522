"""Content and style: two parts of a completion's surprisal, held to the model's own laws."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from aepo_rllib import AEPOConfig, metrics
from aepo_rllib.columns import Columns
from aepo_rllib.models.content_tokens import ContentTokens
from aepo_rllib.models.hf import resolve_model
from tests.support.small_runs import small

CONTENT_CHARACTERS = set("0123456789+-*/^")


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(resolve_model("embedded"))


@pytest.fixture(scope="module")
def step(ray_cluster):
    """A training step whose dial is pointed at the content: what it logged, and its T = 1 groups."""
    config = small(AEPOConfig(), entropy_source=metrics.CONTENT_SURPRISAL, target_entropy="0.9x", batch_size=12)
    algo, shown = config.build_algo(), {}
    algo.on_episodes = lambda purpose, groups: shown.setdefault(purpose.name, groups)
    try:
        return algo.train(), shown[metrics.MAIN]
    finally:
        algo.stop()


def test_content_is_what_is_written_with_digits_and_operators(tokenizer):
    texts = [tokenizer.decode([token_id], skip_special_tokens=True) for token_id in range(len(tokenizer))]
    expected = [bool(CONTENT_CHARACTERS & set(text)) for text in texts]
    assert 10 < sum(expected) < len(expected) - 20
    np.testing.assert_array_equal(ContentTokens(tokenizer).mask(range(len(tokenizer))), expected)


def test_content_and_style_add_up_to_the_surprisal_of_a_completion(step):
    main = step[0][metrics.MAIN]
    whole = main[metrics.SAMPLED_SURPRISAL] * main[metrics.COMPLETION_TOKENS]
    assert main[metrics.CONTENT_SURPRISAL] + main[metrics.STYLE_SURPRISAL] == pytest.approx(whole)


def test_content_is_an_unbiased_estimate_of_its_part_of_the_exact_entropy(step, tokenizer):
    """Over states that the policy came through: sum of -pi log pi over the tokens of that kind."""
    model = AutoModelForCausalLM.from_pretrained(resolve_model("embedded"))
    is_content_V = torch.from_numpy(ContentTokens(tokenizer).mask(range(model.config.vocab_size)))
    gaps, sampled = [], []
    for episode in step[1].episodes:
        [prompt], [completion] = (
            episode.get_extra_model_outputs(key) for key in (Columns.PROMPT_IDS, Columns.COMPLETION_IDS)
        )
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
        logp_TV = logits.double().log_softmax(-1)
        exact = -(logp_TV.exp() * logp_TV)[:, is_content_V].sum()
        taken_T = torch.tensor(completion)
        logp_T = logp_TV.gather(-1, taken_T.unsqueeze(-1)).squeeze(-1)
        sampled.append(float(-logp_T[is_content_V[taken_T]].sum()))
        gaps.append(sampled[-1] - float(exact))
    assert step[0][metrics.MAIN][metrics.CONTENT_SURPRISAL] == pytest.approx(np.mean(sampled), rel=1e-3)
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / np.sqrt(len(gaps))
    assert np.std(gaps) < 4  # nats a completion, or the line before says nothing


def test_the_dial_reads_the_content_and_its_target_is_a_share_of_the_base_s(step):
    logged = step[0]
    control = logged[metrics.CONTROL]
    assert control[metrics.CONTENT] == logged[metrics.MAIN][metrics.CONTENT_SURPRISAL]
    assert control[metrics.TARGET_CONTENT] == pytest.approx(0.9 * control[metrics.BASE_CONTENT])
    assert control[metrics.BASE_CONTENT] == pytest.approx(control[metrics.CONTENT], rel=0.3)  # the same weights
    assert not {metrics.ENTROPY, metrics.TARGET_ENTROPY, metrics.BASE_ENTROPY} & control.keys()  # another unit
