"""AEPO as the authors' own code has it (github.com/597358816/AEPO, commit b353a05), by name `aepo_authors`.

What it does otherwise than the paper's formula, each an option of `AEPOConfig`:

* tempered positives *replace* the first main rows, at most 60 of 2,560, half as many when cooling; no alpha;
* a positive is a tempered row whose group advantage exceeds 0.05, so that all-correct groups have none;
* only the first quarter of the prompts is sampled again, and the first positives in prompt order are taken;
* the entropy is the surprisal of the previous update, over a moving policy and over the replaced rows too, as a mean
  of micro-batch means; it counts as 0 before the first update, so that the first step is hot; equality heats;
* tempered rows go through the clipped surrogate (with ratio 1 in the first optimizer step, where they all are);
* top_p = 0.99 cuts both streams and is ignored in the ratio;
* a batch without any positive is a plain GRPO step here; there it is a crash.

Sizes and learning rate are those of their Qwen2.5-Math-7B script; set your own for smaller models.
"""

from __future__ import annotations

from aepo_rllib import metrics
from aepo_rllib.algorithms.aepo import AEPOConfig


class AEPOAuthorsConfig(AEPOConfig):
    """`AEPOConfig` with the authors' settings.

    .. testcode::

        config = AEPOAuthorsConfig().training(batch_size=16, group_size=8, lr=6e-4).tempered_term(replace_rows=8)
        algo = config.build_algo()
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        self.training(
            batch_size=512,
            group_size=5,
            updates_per_batch=4,
            aggregation="micro-batch-token-mean",
            micro_batch_size=4,
            skip_flat_rows=False,
            clip_low=0.2,
            clip_high=0.2,
            dual_clip=3.0,
            lr=1e-6,
            weight_decay=0.01,
            grad_clip=1.0,
        )
        self.sampling(max_new_tokens=2048, top_p=0.99, ignore_filters_in_ratio=True)
        self.entropy_control(
            target_entropy=0.5,
            controller="switch",
            temperature_low=0.8,
            temperature_high=1.2,
            heat_at_target=True,
            entropy_source=metrics.UPDATE_SURPRISAL,
            initial_entropy=0.0,
        )
        self.tempered_term(
            tempered_share=0.25,
            positive_rule="advantage",
            composition="replace",
            replace_rows=60,
            halve_when_cold=True,
        )
