"""The embedded model's own tokenizer: one token per word, digit or sign, each with its leading space.

Encoding and decoding are exact inverses on every problem and trace of the arithmetic set; anything else becomes
`<unk>`.
"""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from aepo_rllib.envs.traces import STYLE_WORDS

PAD, EOS, UNK = "<pad>", "<eos>", "<unk>"
_PIECES = Regex(r" ?\\boxed\{| ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]|\s")


def vocabulary() -> list[str]:
    """All tokens in id order."""
    digits = [f"{space}{digit}" for digit in range(10) for space in ("", " ")]
    signs = ["+", "-", "*", "(", ")", "}", ".", r" \boxed{"]
    return [PAD, EOS, UNK, "Make", "Add", " from", *digits, *signs, *sorted(STYLE_WORDS)]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A fresh tokenizer; it needs no training."""
    vocab = {token: index for index, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(_PIECES, behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
