"""Verdicts on mathematical answers: spelling, integers and algebra."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.envs.grading.literals import as_integer, literal_verdict
from aepo_rllib.envs.grading.symbolic import math_equal
from aepo_rllib.envs.verdict import Verdict

# Raw math-verify 0.9.0 reaches these verdicts, except for those we change on purpose, which are marked.
EQUAL = [
    ("1/2", "0.5"),
    (r"\frac{1}{2}", "0.5"),
    (r"\frac{1}{2}", r"\dfrac12"),
    (r"\frac{1}{2}", r"\frac{2}{4}"),
    ("27.0", "27"),
    ("27", "27.0"),
    ("10000", "10,000"),
    ("5", "5."),  # changed: a final dot ends a sentence
    ("5", r"5\text{ cm}"),
    ("5", r"5\,\mathrm{m/s}"),
    ("90", r"90^\circ"),
    ("30", r"30\%"),  # changed: a percent sign is a unit
    ("12.5%", "12.5"),  # changed
    ("(1,2)", "(1, 2)"),
    ("1,2", "2,1"),
    ("1,2", r"1 \text{ and } 2"),
    (r"\{1,2\}", r"\{2,1\}"),
    ("x=5", "5"),
    ("5", "x=5"),
    ("y=2x+1", "2x+1"),
    ("y=2x+1", "2x-y+1=0"),
    (r"2\sqrt{3}", r"\sqrt{12}"),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt2}"),
    ("x^2+2x+1", "(x+1)^2"),
    ("10-4n", "-4n+10"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}"),
    (r"\text{Evelyn}", "Evelyn"),
    ("A", r"\text{(A)}"),
    ("3+2i", "2i+3"),
    (r"1\frac{3}{4}", "1.75"),
    ("2^{10}", "1024"),
    (r"\$18", "18"),
    ("18", r"\$18.00"),
    (r"\log_2 8", "3"),
    ("1000000", "10^6"),
    ("10000", r"10,\!000"),
    ("120_{5}", "120_5"),
    (r"\frac{9}{2}\pi", r"4.5\pi"),
]
DIFFERENT = [
    ("0.333", r"\frac13"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("[0,1)", "[0,1]"),
    (r"\pi", "3.14159"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&5\end{pmatrix}"),
    ("4", "-4"),
    ("2", "3"),
    (r"\text{yes}", "no"),
    # Ways of naming the right answer among others, or in text that cannot be read.
    ("5", "1,2,3,4,5,6"),
    ("5", "4 or 5"),
    ("5", r"\pm 5"),
    ("5", "not 5"),
    ("5", "5<6"),
    ("5", "x<6"),
    ("5", "5=4"),
    ("5", "((( 5"),
    ("5", "foo(bar 5"),
    ("5", r"\frac{1}{ $5$"),
    ("5", "4 % 5"),
    ("5", "answer: 5 or 6"),
    ("5", "5!"),
    ("x=5", "x=x"),
    (r"\frac{1}{3}E_1+\frac{2}{3}E_2", r"\frac{2}{3}"),
]


def judged(gold: str, answer: str) -> bool:
    verdict = literal_verdict(gold, answer)
    return math_equal(gold, answer) if verdict is None else verdict


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal_answers(gold: str, answer: str) -> None:
    assert judged(gold, answer)


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different_answers(gold: str, answer: str) -> None:
    assert not judged(gold, answer)


@given(st.integers(-(10**12), 10**12), st.integers(0, 3), st.sampled_from(["{}", "${}$", r"\${}", " {} ", "{}."]))
def test_integers_are_read_however_they_are_written(value: int, zeros: int, frame: str) -> None:
    plain = f"{'-' if value < 0 else ''}{'0' * zeros}{abs(value)}"
    assert as_integer(frame.format(plain)) == value
    assert as_integer(frame.format(f"{value:,}")) == value
    assert literal_verdict(str(value), frame.format(plain)) is True
    assert literal_verdict(str(value), str(value + 1)) is False


@pytest.mark.parametrize(
    "text", ["", "-", "1,00", "1,2", "1 2", "1.0", "1/2", "٣", "1e3", "x", "--1", "1,2345", "9" * 5000]
)
def test_nothing_else_is_a_plain_integer(text: str) -> None:
    assert as_integer(text) is None


def test_equal_spelling_is_equal_whatever_it_means() -> None:
    assert literal_verdict("no solution", "no  solution.") is True
    assert literal_verdict("12", "1 2") is None
    assert literal_verdict("2^{10}", "1024") is None


def test_rewards() -> None:
    assert {verdict: verdict.reward for verdict in Verdict if verdict.reward} == {Verdict.CORRECT: 1.0}
    assert {verdict for verdict in Verdict if not verdict.usable} == {Verdict.TIMED_OUT, Verdict.CRASHED}


AUDIT = r"""
import json, re, sys
from aepo_rllib.envs.grading.literals import literal_verdict
from aepo_rllib.envs.grading.symbolic import math_equal
math_equal(r"\frac{1}{2}", "x+0.5"); math_equal("5", "1/0,((")
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
pairs = json.load(sys.stdin)
sys.addaudithook(hook)
equal = [pair for pair in pairs if literal_verdict(*pair) or math_equal(*pair)]
recording = False
print(json.dumps([seen, equal]))
"""


def test_code_in_answers_never_runs() -> None:
    codes = [
        "__import__('os').system('touch MARKER')",
        "().__class__.__base__.__subclasses__()",
        "open('MARKER','w')",
        "exec('1')",
        "eval(compile('1','','eval'))",
        "lambda: 5",
        "[c for c in ().__class__.__bases__]",
        "globals()['__builtins__']",
        r"\input{/etc/passwd}",
        r"\immediate\write18{touch MARKER}",
        "Symbol('x').func(5)",
        "sympify('__import__(\"os\")')",
        "{{7*7}}",
        "!!python/object/apply:os.system [true]",
    ]
    frames = [
        "{}",
        "5+{}",
        r"\frac{{{}}}{{2}}",
        r"\text{{{}}}",
        "${}$",
        r"x_{{{}}}",
        r"\sqrt{{{}}}",
        "{}=5",
        "({},5)",
    ]
    pairs = [(gold, frame.format(code)) for code in codes for frame in frames for gold in ("5", r"\frac{1}{2}")]
    done = subprocess.run(
        [sys.executable, "-c", AUDIT], input=json.dumps(pairs), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    seen, equal = json.loads(done.stdout.splitlines()[-1])
    assert seen == []
    # Text that sets a value aside as `... = 5` states the value 5; no other frame may be accepted.
    assert [pair for pair in equal if not pair[1].endswith("=5")] == []
