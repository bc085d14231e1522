"""`aepo-hf`: an lm-eval model that samples n completions per prompt through the rollout engine that training uses.

Against lm-eval's own `hf` it tokenizes and prefills a prompt once for all its samples, bounds memory whatever n is,
and draws every sample from a generator of its own: the same seed gives the same samples, and n can grow without
changing the first ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from aepo_rllib.envs.prompts import get_template
from aepo_rllib.eval.decoding import Decoding
from aepo_rllib.hf import load_tokenizer, resolve_model, stop_ids
from aepo_rllib.prompting import PromptEncoder
from aepo_rllib.rollout import Completion, FinishReason, Prompt, RolloutRequest, Stream, make_engine


class SampledText(str):
    """A completion's text that knows whether it was cut at the token limit; lm-eval passes it on as it is."""

    truncated: bool

    def __new__(cls, text: str, *, truncated: bool) -> SampledText:
        """A string with one attribute more."""
        sampled = super().__new__(cls, text)
        sampled.truncated = truncated
        return sampled

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, bool]]:
        return (str(self),), {"truncated": self.truncated}


@register_model("aepo-hf")
class SamplingLM(LM):
    """Samples with a rollout engine. It generates only: tasks that need log-likelihoods are refused.

    Args:
        pretrained: Hugging Face folder or id, or "embedded".
        seed: Of the samples.
        template: Name of a prompt template that a task's prompt is put into.
        engine: Name of a rollout engine.
        dtype: Of the weights.
        device: Where to sample; lm-eval's --device. The CPU where that device is missing, as in lm-eval's `hf`.
        max_rows: Most completions sampled at a time; bounds memory.
        batch_size: Ignored: lm-eval says 1 where its user says nothing. `max_rows` is the number to set.
        max_batch_size: Ignored likewise.

    Raises:
        aepo_rllib.hf.ModelError: the model cannot be read.
        ValueError: unknown engine.
    """

    def __init__(
        self,
        pretrained: str = "embedded",
        *,
        seed: int = 0,
        template: str = "plain",
        engine: str = "transformers",
        dtype: str = "float32",
        device: str | None = None,
        max_rows: int = 1024,
        batch_size: Any = None,
        max_batch_size: Any = None,
    ) -> None:
        super().__init__()
        self.pretrained, self.seed, self.max_rows, self.dtype = pretrained, int(seed), int(max_rows), dtype
        self.tokenizer = load_tokenizer(pretrained)
        self.stop_ids = stop_ids(pretrained, self.tokenizer)
        self.template = get_template(template)
        self.encoder = PromptEncoder(self.tokenizer, self.template)
        self.engine = make_engine(engine, resolve_model(pretrained), dtype=dtype, device=_present(device))

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Sample a text for every request; neighbours that are one and the same request are its n samples.

        Raises:
            ValueError: greedy decoding with n > 1, an unknown generation argument, or a prompt too long for the model.
        """
        groups = [(same[0], len(same)) for _, group in groupby(requests, key=id) if (same := list(group))]
        decodings = [Decoding.from_kwargs(request.args[1]) for request, _ in groups]
        for (request, n), decoding in zip(groups, decodings, strict=True):
            if decoding.greedy and n > 1:
                raise ValueError(
                    f"{request.task_name}: greedy decoding would give {n} equal samples; ask for one sample, or set "
                    "do_sample: true and a temperature above 0"
                )
        texts: list[str] = []
        with _progress(disable_tqdm) as progress:
            bar = progress.add_task("sampling", total=len(requests))
            for decoding, run in groupby(zip(decodings, groups, strict=True), key=lambda item: item[0]):
                for wave in self._waves([group for _, group in run]):
                    texts += self._sample(wave, decoding)
                    progress.update(bar, completed=len(texts))
        return texts

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Refused."""
        raise NotImplementedError("aepo-hf only generates text; evaluate log-likelihood tasks with --model hf")

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Refused."""
        raise NotImplementedError("aepo-hf only generates text; evaluate perplexity tasks with --model hf")

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes into `config` of its results."""
        return {"model_dtype": self.dtype, "sample_seed": self.seed}

    def _waves(self, groups: Sequence[tuple[Instance, int]]) -> Iterator[list[tuple[Instance, int]]]:
        """(request, sample number) of at most `max_rows` completions at a time, in order."""
        rows = ((request, sample) for request, n in groups for sample in range(n))
        while wave := list(islice(rows, self.max_rows)):
            yield wave

    def _sample(self, wave: Sequence[tuple[Instance, int]], decoding: Decoding) -> list[SampledText]:
        prompts = []
        for _, rows in groupby(wave, key=lambda row: id(row[0])):
            (request, first), *others = rows
            keys = self._keys(request, [first, *(sample for _, sample in others)])
            prompts.append(
                Prompt(self.encoder.encode(self.template.render(request.args[0])), keys, decoding.temperature)
            )
        completions = self.engine.generate(
            prompts, max_new_tokens=decoding.max_new_tokens, stop_ids=self.stop_ids, filters=decoding.filters
        )
        return [self._text(completion, decoding) for group in completions for completion in group]

    def _keys(self, request: Instance, samples: Sequence[int]) -> list[tuple[int, ...]]:
        """The random keys of a prompt's samples: they depend on seed, problem and sample number alone."""
        slot = request.doc_id or 0
        asked = RolloutRequest(
            Stream.EVALUATION, self.seed, step=0, slots=(slot,), problems=(slot,), group_size=len(samples)
        )
        return [asked.key(slot, sample) for sample in samples]

    def _text(self, completion: Completion, decoding: Decoding) -> SampledText:
        whole = self.encoder.decode(completion.token_ids)
        text = decoding.cut(whole)
        return SampledText(text, truncated=completion.finish_reason is FinishReason.LENGTH and text == whole)


def _present(device: str | None) -> str:
    """lm-eval asks for CUDA where its user says nothing."""
    if device is None or (device.startswith("cuda") and not torch.cuda.is_available()):
        return "cpu"
    return device


def _progress(disabled: bool) -> Progress:
    """A bar that counts samples; silent where nobody watches."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("samples"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=disabled or not console.is_terminal, transient=True)
