"""The verifier `qwen2.5-math` against verdicts computed with the published evaluation's own code."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy.core.random import seed

from aepo_rllib.envs.grading import Grader
from aepo_rllib.envs.grading.qwen import qwen_equal
from aepo_rllib.envs.grading.qwen_text import extract_final, judge_spelling
from aepo_rllib.envs.grading.rules import get_rule
from aepo_rllib.envs.grading.verifiers import VERIFIERS
from aepo_rllib.envs.problems import Problem
from aepo_rllib.envs.problems.problem import MAX_ANSWER_CHARS
from aepo_rllib.envs.verdict import Verdict

NAME = "qwen2.5-math"
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "qwen25_math.json").read_text())
PAIRS: dict[tuple[str, str], bool] = {(gold, answer): verdict for gold, answer, verdict, _ in GOLDEN["equal"]}
CATEGORIES = {(gold, answer): category for gold, answer, _, category in GOLDEN["equal"]}

WHOLE_COMPLETION = "they search the whole completion for a lone letter, we the final answer, whose blanks are gone"
NO_ANSWER = "an empty final answer is no answer here"
NO_GOLD = "with an empty known answer they accept everything"
EVALUATED = "they evaluate the answer as Python, here to a string"
EXCEPTIONS = {
    ("B", "A and B"): WHOLE_COMPLETION,
    ("A", "a cat"): WHOLE_COMPLETION,
    ("", ""): NO_ANSWER,
    ("", "5"): NO_GOLD,
    (" ", "5"): NO_GOLD,
    ("", "0"): NO_GOLD,
    ("5", '"5"'): EVALUATED,
}
"""Where our verdict is another one. In all of them theirs is true and ours false."""

TRICKY = {"matrix", "equation", "interval", "set_list", "double_strip_asymmetry", "prefix_traps"}
"""Where single pairs need a step of their own."""

MEGABYTE = 1_000_000
FLOODS = [
    "5",
    "-",
    "-.",
    "1.",
    "0",
    ".0",
    "1,",
    "٣",
    "²",
    "\0",
    "\n",
    " \n",
    "{",
    "}",
    "{}",
    "$",
    "boxed",
    r"\boxed{",
    r"\boxed{5",
    "he answer is ",
    "final answer is $",
    "$. I hope",
    "答案是",
    "ки",
    r"\text{",
    r"\mbox{",
    r"\begin{array}{",
    r"\frac",
    r"\frac1",
    r"\sqrt",
    r"\sqrta",
    r"\left",
    "a ",
    "a b ",
    "m ",
    "one ",
    "point ",
    "hundred thousand ",
    "x=",
    "=",
    "/",
    "inf",
    "and",
    "j",
    "(",
    "(,",
    "%s",
    "{0.__class__}",
    "__import__('os')",
    "\ud800",
    "ﬁß",
]
FRAMES = ["{}", r"\boxed{{{}}}", r"\boxed{}", "the answer is {}", "答案是{}"]
CODES = [
    "__import__('os').system('touch MARKER')",
    "().__class__.__base__.__subclasses__()",
    "open('MARKER','w')",
    "eval(compile('1','','eval'))",
    "lambda: 5",
    "[c for c in ().__class__.__bases__]",
    "{open('MARKER','w'),5}",
    "{__import__('os'),x}",
    r"\input{/etc/passwd}",
    "Symbol('x').func(5)",
    "sympify('__import__(\"os\")')",
    r"\begin{matrix}open('MARKER','w')\end{matrix}",
    '"5"',
    "5if 1else 6",
]


def completion(answer: str) -> str:
    return rf"\boxed{{{answer}}}"


def problem(gold: str) -> Problem:
    return Problem(id="", text="", answer=gold, verifier=NAME)


def at_once(pair: tuple[str, str]) -> bool | None:
    """The verdict that needs no algebra."""
    gold, answer = pair
    final = extract_final(completion(answer))
    return False if final is None else judge_spelling(problem(gold), final)


def by_rule(pair: tuple[str, str]) -> bool:
    """The verdict of a worker."""
    gold, answer = pair
    seed(0)
    return qwen_equal(gold, extract_final(completion(answer)) or "")


def expected(pair: tuple[str, str]) -> bool:
    return PAIRS[pair] and pair not in EXCEPTIONS


SPELLED = {pair: verdict for pair in PAIRS if (verdict := at_once(pair)) is not None}
ALGEBRA = [pair for pair in PAIRS if pair not in SPELLED]


def test_it_is_registered() -> None:
    assert VERIFIERS[NAME].own_extract is extract_final
    assert VERIFIERS[NAME].judge is judge_spelling
    assert VERIFIERS[NAME].compares
    assert get_rule(NAME) is qwen_equal


def test_few_verdicts_are_excepted() -> None:
    assert all(PAIRS[pair] for pair in EXCEPTIONS)
    assert len(EXCEPTIONS) < 0.015 * len(PAIRS)
    assert len(SPELLED) > 450
    assert len(set(CATEGORIES.values())) >= 30


@pytest.mark.parametrize(("text", "final"), GOLDEN["extract"])
def test_extraction_agrees(text: str, final: str | None) -> None:
    assert extract_final(text) == (final or None)  # they tell "" from None, we do not


def test_verdicts_by_spelling_agree() -> None:
    assert [pair for pair, verdict in SPELLED.items() if verdict != expected(pair)] == []


def test_the_rule_repeats_the_verdicts_by_spelling() -> None:
    pairs = [pair for pair in SPELLED if extract_final(completion(pair[1])) is not None]
    assert [pair for pair in pairs if by_rule(pair) != SPELLED[pair]] == []


def test_verdicts_by_algebra_agree_in_a_sample() -> None:
    tricky = [pair for pair in ALGEBRA if pair in EXCEPTIONS or CATEGORIES[pair] in TRICKY]
    pairs = tricky + random.Random(0).sample([pair for pair in ALGEBRA if pair not in tricky], 60)
    assert [pair for pair in pairs if by_rule(pair) != expected(pair)] == []


@pytest.mark.slow
def test_all_verdicts_by_algebra_agree() -> None:
    assert [pair for pair in ALGEBRA if by_rule(pair) != expected(pair)] == []


@pytest.mark.process
def test_verdicts_of_the_grader_agree() -> None:
    draw = random.Random(1)
    pairs = [*EXCEPTIONS, *draw.sample(list(SPELLED), 25), *draw.sample(ALGEBRA, 30)]
    with Grader(workers=2, deadline_s=20) as grader:
        grades = grader.grade_batch([problem(gold) for gold, _ in pairs], [completion(answer) for _, answer in pairs])
    assert [grade.answer for grade in grades] == [extract_final(completion(answer)) for _, answer in pairs]
    verdicts = [grade.verdict for grade in grades]
    assert [verdict is Verdict.CORRECT for verdict in verdicts] == [expected(pair) for pair in pairs]
    assert set(Counter(verdicts)) == {Verdict.CORRECT, Verdict.WRONG, Verdict.NO_ANSWER}


@pytest.mark.parametrize(
    ("gold", "text", "verdict"),
    [
        ("B", r"\boxed{\text{(B) } 12}", True),
        ("B", r"So the answer is (B).", True),
        ("B", r"A or B? \boxed{C}", None),
        ("AC", r"\boxed{A, C}", True),
        ("AC", r"\boxed{A, B}", None),
        ("0.5", "Half of it, so 50", True),
        ("7", r"7, no: \boxed{8}", False),
        (r"\frac12", r"\boxed{0.5}", None),
        ("5", r"\boxed{5\begin{pmatrix}1\end{pmatrix}}", False),
        (r"(\sqrt2,1]", r"\boxed{[\sqrt{2},1]}", None),
    ],
)
def test_what_is_judged_at_once(gold: str, text: str, verdict: bool | None) -> None:
    final = extract_final(text)
    assert final is not None
    assert judge_spelling(problem(gold), final) is verdict


@pytest.mark.parametrize(
    ("gold", "final", "equal"),
    [
        ("(1,2)", "(1,k=2)", True),
        ("(1,k=2)", "(1,2)", True),
        ("(1,2)", "(1,ABC=2)", False),
        ("{1,x}", "{x,1}", True),
        ("{1,x}", "{x,2}", False),
        ("3x+w=1", "-3x-w=-1", True),
        ("3x+w=1", "-3x-w=1", False),
    ],
)
def test_rules_that_published_answers_rarely_need(gold: str, final: str, equal: bool) -> None:
    assert qwen_equal(gold, final) is equal


def test_answers_have_a_greatest_length() -> None:
    longest = "x" * MAX_ANSWER_CHARS
    assert extract_final(completion(longest)) == longest
    assert extract_final(completion(longest + "y")) is None
    # What counts is the answer as graded.
    assert extract_final(completion(f"5 \\text{{{longest}}}")) == "5"
    assert extract_final(completion("5" + " " * MEGABYTE)) is None


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_read_and_judged_without_harm(flood: str) -> None:
    text = flood * (MEGABYTE // len(flood))
    for frame in FRAMES:
        final = extract_final(frame.format(text))
        assert final is None or 0 < len(final) <= MAX_ANSWER_CHARS
    for length in (2 * MAX_ANSWER_CHARS, MAX_ANSWER_CHARS):
        final = extract_final(completion(flood * (length // len(flood))))
        for gold in ("5", "A", "AB", "", "(1,2)", r"\begin{pmatrix}1\end{pmatrix}", flood):
            assert judge_spelling(problem(gold), final or flood) in {True, False, None}


@given(st.text(), st.text(), st.sampled_from(FRAMES))
def test_no_text_fails(gold: str, text: str, frame: str) -> None:
    final = extract_final(frame.format(text))
    assert final is None or 0 < len(final) <= MAX_ANSWER_CHARS
    assert judge_spelling(problem(gold), final or text) in {True, False, None}


@pytest.mark.parametrize("opening", ["(", "{", "[", r"\frac{", r"\sqrt{", "-", "x^{", r"\begin{pmatrix}"])
def test_deep_nesting_ends(opening: str) -> None:
    assert not qwen_equal(r"\frac{5}{7}", opening * (MAX_ANSWER_CHARS // len(opening)))


AUDIT = r"""
import json, re, sys
from aepo_rllib.envs.grading.qwen import qwen_equal
from aepo_rllib.envs.grading.qwen_text import extract_final, judge_spelling
from aepo_rllib.envs.problems import Problem
qwen_equal(r"\frac{1}{2}", "x+0.5"); qwen_equal(r"\begin{matrix}1\\2\end{matrix}", "{1,2}")
seen = []
recording = True
# sympy compiles helpers of its own, and single numbers, which is all that may come from an answer.
harmless = re.compile(rb"def monomial_.*|from sympy import \*|(Integer|Float) \('?[0-9.]+'? ?\)", re.DOTALL)
forbidden = ("os.system", "os.exec", "os.posix", "os.fork", "subprocess.", "socket.", "shutil.")
def suspicious(event, arguments):
    if event == "compile":
        return harmless.fullmatch(bytes(arguments[0] or b"")) is None
    if event == "open":  # lazy imports read files
        return arguments[1] not in ("r", "rb") or "MARKER" in str(arguments[0])
    return event.startswith(forbidden)
def hook(event, arguments):
    if recording and suspicious(event, arguments):
        seen.append(f"{event} {str(arguments)[:200]}")
texts = json.load(sys.stdin)
sys.addaudithook(hook)
equal = []
for text in texts:
    final = extract_final("\\boxed{" + text + "}")
    judge_spelling(Problem(id="", text="", answer="5"), final or "")
    # As it stands, too: a worker must not depend on what extraction leaves of a text.
    equal += [text for answer in {final or "", text} if qwen_equal("5", answer)]
recording = False
print(json.dumps([seen, equal]))
"""


@pytest.mark.process
def test_code_in_answers_never_runs() -> None:
    # What stands before the first thing that makes no sense counts, so `5+` and any code would be 5.
    frames = ["{}", "6+{}", r"\frac{{{}}}{{2}}", "({},5)", "y+x={}"]
    texts = [frame.format(code) for code in CODES for frame in frames]
    done = subprocess.run(
        [sys.executable, "-c", AUDIT], input=json.dumps(texts), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[], []]
