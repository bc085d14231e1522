"""Instructions that public problem sets put around their problems: taken off, so that the template alone decides.

Only these exact texts, at the very beginning or end, are taken. Two instructions in one prompt ask for two forms of
an answer, and a verifier reads one.
"""

from __future__ import annotations

from dataclasses import dataclass

from aepo_rllib.envs.prompts import BOXED, DAPO_HEAD, DAPO_TAIL, THINK


@dataclass(frozen=True)
class Frame:
    """An instruction of a public set.

    Attributes:
        source: Who writes it.
        head: What stands before the problem.
        tail: What stands behind it.
    """

    source: str
    head: str = ""
    tail: str = ""


_RETURN_BOXED = "Return your final response within \\boxed{}."

FRAMES = (
    Frame("BytedTsinghua-SIA/DAPO-Math-17k", DAPO_HEAD, DAPO_TAIL),
    Frame(
        "volcengine/verl examples/data_preprocess/gsm8k.py",
        tail='Let\'s think step by step and output the final answer after "####".',
    ),
    Frame(
        "volcengine/verl examples/data_preprocess/math_dataset.py",
        tail="Let's think step by step and output the final answer within \\boxed{}.",
    ),
    Frame("QwenLM/Qwen2.5-Math, deepseek-ai/DeepSeek-R1", tail=BOXED),
    Frame("eth-sri/matharena", head=BOXED),
    Frame("hiyouga/EasyR1", tail=THINK),
    Frame("PRIME-RL/Eurus-2-RL-Data", tail="Present the answer in LaTex format: \\boxed{Your answer}"),
    Frame("open-thoughts/OpenThoughts-114k", head=_RETURN_BOXED),
    Frame("open-thoughts/OpenThoughts-114k, other copies", tail=_RETURN_BOXED),
    Frame(
        "NVIDIA-NeMo/Skills generic/math",
        head="Solve the following math problem. Make sure to put the answer (and only answer) inside \\boxed{}.",
    ),
)


def bare(text: str) -> str:
    """A problem without the instructions of public sets, and without blanks around it."""
    text = text.strip()
    for frame in FRAMES:
        if text.startswith(frame.head) and text.endswith(frame.tail):
            inner = text[len(frame.head) : len(text) - len(frame.tail)].strip()
            text = inner or text
    return text


def is_instruction(text: str) -> bool:
    """Whether a text is one of these instructions and nothing else."""
    return any(text.strip() in (frame.head, frame.tail) for frame in FRAMES if text.strip())
