"""`aepo-hf` and `aepo-vllm`: lm-eval models that sample n completions per prompt through a rollout engine.

Against lm-eval's own `hf` they tokenize and prefill a prompt once for many samples, bound memory whatever n is, draw
every sample from a generator of its own (the same seed gives the same samples, and n can grow without changing the
first ones), and keep what they have sampled in a store, so that a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from aepo_rllib.envs.completion import SampledText
from aepo_rllib.envs.prompts import get_template
from aepo_rllib.eval.data import Turns
from aepo_rllib.eval.sampling.decoding import Decoding
from aepo_rllib.eval.sampling.lazy_texts import StoredSample
from aepo_rllib.eval.sampling.progress import sample_progress
from aepo_rllib.eval.sampling.repair import repair
from aepo_rllib.eval.sampling.requests import Asked, read_requests, waves, without
from aepo_rllib.eval.sampling.sample_files import MemorySamples, Place, SampleFile, Samples
from aepo_rllib.models.fingerprint import model_fingerprint
from aepo_rllib.models.hf import load_tokenizer, resolve_model, stop_ids
from aepo_rllib.models.prompting import PromptEncoder
from aepo_rllib.rollout import Completion, FinishReason, Prompt, check_engine_options, engine_identity, make_engine
from aepo_rllib.rollout.request import EVALUATION
from aepo_rllib.support.locks import claimed

logger = logging.getLogger(__name__)


@register_model("aepo-hf")
class SamplingLM(LM):
    """Samples with a rollout engine. It generates only: tasks that need log-likelihoods are refused.

    Args:
        pretrained: Hugging Face folder or id, or "embedded".
        seed: Of the samples.
        template: Name of a prompt template: its *frame* (ChatML, or the model's chat template) is put around what the
            task asks. The template's text is the task's own affair.
        store: Folder of a sample store; without one samples live as long as the call.
        by_reference: Return `StoredSample`s, which name a place in the store, instead of texts. Only for tasks whose
            filters know them, as ours do: a thousand samples of five hundred problems then need little memory.
        engine: Name of a rollout engine, see `aepo_rllib.rollout.engine_class`.
        dtype: Of the weights.
        device: Where to sample; lm-eval's --device. The CPU where that device is missing, as in lm-eval's `hf`.
        max_rows: Most completions sampled at a time; bounds memory.
        repair: Cut out of the store what is damaged, and sample it again, instead of refusing it.
        batch_size: Ignored: lm-eval says 1 where its user says nothing. `max_rows` is the number to set.
        max_batch_size: Ignored likewise.
        engine_options: The engine's own, such as vLLM's `tensor_parallel_size`.
        more_options: The same one by one, as in lm-eval's --model_args.

    Raises:
        aepo_rllib.models.hf.ModelError: the model cannot be read.
        ValueError: unknown engine, engine option or template; a store that another process writes into, or that wants
            a model whose weights cannot be told apart.
    """

    ENGINE = "transformers"
    shows_progress = True
    reads_turns = True
    """Whatever a document of ours says before its problem is put into the chat, see `aepo_rllib.eval.task`."""

    def __init__(
        self,
        pretrained: str = "embedded",
        *,
        seed: int = 0,
        template: str = "plain",
        store: str | None = None,
        by_reference: bool = False,
        engine: str | None = None,
        dtype: str = "float32",
        device: str | None = None,
        max_rows: int = 1024,
        repair: bool = False,
        batch_size: Any = None,
        max_batch_size: Any = None,
        engine_options: Mapping[str, Any] | None = None,
        **more_options: Any,
    ) -> None:
        super().__init__()
        self.pretrained, self.seed, self.max_rows, self.dtype = pretrained, int(seed), int(max_rows), dtype
        self.engine_name = engine or self.ENGINE
        options = {**(engine_options or {}), **more_options}
        check_engine_options("engine option", self.engine_name, options)
        self.tokenizer = load_tokenizer(pretrained)
        self.stop_ids = stop_ids(pretrained, self.tokenizer)
        self.template = get_template(template)
        self.encoder = PromptEncoder(self.tokenizer, self.template)
        self.store = None if store is None else Path(store)
        self.by_reference, self.repair = by_reference, repair
        before = model_fingerprint(pretrained)  # nothing yet for a hub model that has to be downloaded first
        self.engine = make_engine(
            self.engine_name, resolve_model(pretrained), dtype=dtype, device=_device(device), **options
        )
        if not self.engine.reproducible:
            self.engine.close()
            raise ValueError(f"engine {self.engine_name!r} with {options} would draw the same samples twice; seed it")
        self.fingerprint = model_fingerprint(pretrained)
        if before and self.fingerprint != before:
            raise ValueError(f"the files of model {pretrained!r} changed while they were loaded; try again")

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Sample a text for every request; neighbours that are one and the same request are its n samples.

        Raises:
            ValueError: greedy decoding with n > 1, an unknown generation argument, or a prompt too long for the model.
            aepo_rllib.eval.sampling.sample_files.StoreError: the store is damaged.
        """
        asked = read_requests(requests)
        self.check(asked)
        texts: list[str] = []
        with ExitStack() as stack:
            if self.store is not None:
                self.store.mkdir(parents=True, exist_ok=True)
                stack.enter_context(claimed(self.store))
            progress = stack.enter_context(
                sample_progress(len(requests), disabled=disable_tqdm or not self.shows_progress)
            )
            for decoding, run in groupby(asked, key=lambda question: question.decoding):
                questions = list(run)
                samples = self.samples(decoding)
                missing = list(without(questions, samples))
                progress(sum(len(question.places) for question in questions) - sum(len(q.places) for q in missing))
                for wave in waves(missing, self.max_rows):
                    samples.add(self._sample(wave, decoding))
                    progress(sum(len(places) for _, places in wave))
                texts += [self._found(samples, place) for question in questions for place in question.places]
        return texts

    def check(self, asked: Sequence[Asked]) -> None:
        """Refuse what could not be sampled.

        Raises:
            ValueError: see `generate_until`.
        """
        # All at once: a model's own chat template is run in another process, which takes a while to start.
        self.encoder.check_turns(*(question.turns for question in asked))
        for question in asked:
            question.check()
            self._check_length(question)

    def samples(self, decoding: Decoding) -> Samples:
        """Where the samples of a decoding are kept.

        Raises:
            aepo_rllib.eval.sampling.sample_files.StoreError: the store is damaged, and is not to be repaired.
            OSError: it cannot be read or written.
        """
        if self.store is None:
            return MemorySamples()
        law = self.identity() | decoding.law()
        if self.repair and (done := repair(self.store, law)):
            logger.warning("%s", done)
        return SampleFile(self.store, law)

    def identity(self) -> dict[str, Any]:
        """What samples depend on besides prompt and decoding: the part of their law that is this model's.

        Raises:
            ValueError: nothing tells this model's weights from others.
        """
        if not self.fingerprint:
            raise ValueError(
                f"model {self.pretrained!r} has no safetensors to know it by, so its samples cannot be stored; "
                "evaluate it without a store"
            )
        # The text is in the prompts. Examples are no part of a store's name that was made before there were any.
        shown = {"turns": self.template.turns} if self.template.examples and self.template.turns else {}
        return {
            **shown,
            "model": self.fingerprint,
            "engine": engine_identity(self.engine_name),
            "dtype": self.dtype,
            "frame": self.template.frame,
            "system": self.template.system,
            "stop_ids": self.stop_ids,
            "seed": self.seed,
        }

    def render(self, text: str, turns: Turns = ()) -> str:
        """What the model reads when a task asks `text` after these turns, special tokens included."""
        return self.tokenizer.decode(self.encoder.encode(text, turns))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """lm-eval's `--apply_chat_template`: from now on prompts stand in the model's own chat format.

        The frame is put around the tokenized text, so that nothing in a problem can end the user's turn.

        Raises:
            ValueError: anything but one user turn after an optional system turn, or a tokenizer without a template.
        """
        *system, user = chat_history
        if user["role"] != "user" or [turn["role"] for turn in system] not in ([], ["system"]):
            raise ValueError("aepo-hf takes a single user turn; leave out few-shot examples as turns")
        content = system[0]["content"] if system else None
        if (self.template.frame, self.template.system) != ("model", content):
            self.template = replace(self.template, frame="model", system=content)
            self.encoder = PromptEncoder(self.tokenizer, self.template)
        return user["content"]

    @property
    def tokenizer_name(self) -> str:
        """For lm-eval's cache keys."""
        return self.pretrained.replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str:
        """What lm-eval notes in its results."""
        return str(self.tokenizer.chat_template or "") if chat_template else ""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Refused."""
        raise NotImplementedError("aepo-hf only generates text; evaluate log-likelihood tasks with --model hf")

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Refused."""
        raise NotImplementedError("aepo-hf only generates text; evaluate perplexity tasks with --model hf")

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes into `config` of its results."""
        return {"model_dtype": self.dtype, "sample_seed": self.seed}

    def _check_length(self, question: Asked) -> None:
        prompt = Prompt(self.encoder.encode(question.text, question.turns), (), question.decoding.temperature)
        try:
            self.engine.check([prompt], question.decoding.max_new_tokens)
        except ValueError as error:
            raise ValueError(f"{question.task}: {error} (it begins {question.text[:60]!r})") from None

    def _sample(
        self, wave: Sequence[tuple[Asked, Sequence[Place]]], decoding: Decoding
    ) -> Iterator[tuple[Place, SampledText]]:
        prompts = [
            Prompt(
                self.encoder.encode(question.text, question.turns),
                [self._key(place) for place in places],
                decoding.temperature,
            )
            for question, places in wave
        ]
        completions = self.engine.generate(
            prompts, max_new_tokens=decoding.max_new_tokens, stop_ids=self.stop_ids, filters=decoding.filters
        )
        for (_, places), group in zip(wave, completions, strict=True):
            for place, completion in zip(places, group, strict=True):
                yield place, self._text(completion, decoding)

    def _found(self, samples: Samples, place: Place) -> str:
        sample = samples.get(place)
        assert sample is not None, place
        return sample.load() if isinstance(sample, StoredSample) and not self.by_reference else sample

    def _key(self, place: Place) -> tuple[int, ...]:
        """The random key of a sample: it depends on seed, prompt and number alone."""
        return (self.seed, EVALUATION.number, int(place.prompt, 16), place.sample)

    def _text(self, completion: Completion, decoding: Decoding) -> SampledText:
        whole = self.encoder.decode(completion.token_ids)
        text = decoding.cut(whole)
        truncated = completion.finish_reason is FinishReason.LENGTH and text == whole
        return SampledText(text, tokens=len(completion), truncated=truncated)


@register_model("aepo-vllm")
class SamplingVLLM(SamplingLM):
    """The same with vLLM as the engine."""

    ENGINE = "vllm"


def _device(device: str | None) -> str:
    """lm-eval asks for CUDA where its user says nothing."""
    if device is None or (device.startswith("cuda") and not torch.cuda.is_available()):
        return "cpu"
    return device
