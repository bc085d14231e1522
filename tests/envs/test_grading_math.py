"""Verdicts on mathematical answers: spelling, integers and algebra."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from math_verify import LatexExtractionConfig, parse, verify

from aepo_rllib.envs.grading import Grader
from aepo_rllib.envs.grading.literals import as_integer, as_number, as_rational, literal_verdict
from aepo_rllib.envs.grading.symbolic import math_equal
from aepo_rllib.envs.problems import Problem
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
    assert literal_verdict("1/3", "9" * 380) is False


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


@pytest.mark.process
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
    # Text that sets a value aside as `... = 5` or `...: 5` states the value 5; no other frame may be accepted.
    assert [pair for pair in equal if not pair[1].endswith(("=5", ": 5}"))] == []


SPELLINGS = {
    "plain": lambda top, bottom: str(top) if bottom == 1 else f"{top}/{bottom}",
    "frac": lambda top, bottom: rf"\frac{{{top}}}{{{bottom}}}" if top >= 0 else rf"-\dfrac{{{-top}}}{{{bottom}}}",
    "decimal": lambda top, bottom: f"{top / bottom:.4f}",
    "short decimal": lambda top, bottom: f"{top / bottom:.1f}",
    "surd": lambda top, bottom: rf"\frac{{{top}\sqrt{{4}}}}{{{2 * bottom}}}",
}
RATIONALS = st.tuples(st.integers(-60, 60), st.sampled_from([1, 2, 3, 4, 5, 8, 16]))


@settings(max_examples=150, deadline=None)
@given(RATIONALS, RATIONALS, st.sampled_from(sorted(SPELLINGS)), st.sampled_from(sorted(SPELLINGS)), st.booleans())
def test_short_cuts_agree_with_math_verify(
    known: tuple[int, int], given: tuple[int, int], one: str, other: str, same: bool
) -> None:
    """What is decided without algebra is what the library decides with it."""
    gold, answer = SPELLINGS[one](*known), SPELLINGS[other](*(known if same else given))
    boxed = [parse(rf"\boxed{{{text}}}", (LatexExtractionConfig(),)) for text in (gold, answer)]
    peer = verify(*boxed)
    assert literal_verdict(gold, answer) in (None, peer), (gold, answer)
    assert math_equal(gold, answer) == peer, (gold, answer)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("5", 5), ("-5.", -5), ("+0.25", "1/4"), (".5", "1/2"), ("10,000.5", "20001/2"), ("3/4", "3/4")),
        *((r"\frac{3}{4}", "3/4"), (r"-\dfrac34", "-3/4"), (r"\$7\%", 7), ("1/0", None), ("", None), (".", None)),
        *(("-", None), ("٣", None), ("1e5", None), (r"1\frac{3}{4}", None), (r"\frac{a}{2}", None), ("1/2/3", None)),
        ("9" * 5000, None),
    ],
)
def test_plainly_written_numbers(text: str, value: str | int | None) -> None:
    assert as_rational(text) == (None if value is None else Fraction(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1.6e-19", 1.6e-19), (r"1.6\times 10^{-19}", 1.6e-19), (r"6.02 \cdot 10^23", 6.02e23), ("5.", 5.0)),
        *((r"4.5e33 \mathrm{erg/s}", None), (r"5\,\text{ cm}", None), (r"12\%", None), ("1.2.3", None), ("e5", None)),
        *(("", None), (r"\pi", None), ("1e99999999", None), ("1e999", float("inf"))),
    ],
)
def test_numbers_in_scientific_notation(text: str, value: float | None) -> None:
    assert as_number(text) == value


@pytest.mark.process
@pytest.mark.parametrize(
    ("verifier", "gold", "answer", "right"),
    [
        # Percent signs: ignored by "math", a spelling of the value too for "math-percent".
        *(("math", "30", r"30\%", True), ("math", "0.3", r"30\%", False), ("math", "62.5%", "0.625", False)),
        *(("math-percent", "62.5%", "0.625", True), ("math-percent", "62.5%", "62.5", True)),
        *(("math-percent", "0.3", r"30\%", True), ("math-percent", r"\frac{1}{2}", r"50\%", True)),
        *(("math-percent", r"8 \%", "0.08", True), ("math-percent", "8", "800", False)),
        ("math-percent", "0.3", r"31\%", False),
        # Numbers within one per cent for "math-numeric", and nothing else.
        *(("math-numeric", "1.6e-19", r"1.6\times 10^{-19}", True), ("math", "1.6e-19", r"1.6\times 10^{-19}", True)),
        *(("math-numeric", "100", "100.9", True), ("math-numeric", "100", "101.1", False)),
        *(
            ("math-numeric", "-2", "2", False),
            ("math-numeric", "0", "0.001", False),
            ("math-numeric", "0", "0.0", True),
        ),
        *(("math-numeric", "3.14159", r"\pi", True), ("math", "3.14159", r"\pi", False)),
        *(("math-numeric", "x^2", "x^2+0", True), ("math-numeric", "x^2", "1.01x^2", False)),
        *(("math-numeric", "T=5.0", "5.01", True), ("math-numeric", "12.5%", "0.125", True)),
        # What has no finite value is wrong, not a failure of the grader.
        *(("math-numeric", "7", answer, False) for answer in (r"\log_{1} 7", r"\lfloor 10^{250}\pi \rfloor", "1/0")),
        ("math-numeric", "7", r"\exp(\exp(\exp(\exp(9))))", False),
        # Nobody answers in thirteen brackets.
        ("math", "7", "(" * 13 + "7" + ")" * 13, False),
        ("math", "7", "(" * 12 + "7" + ")" * 12, True),
    ],
)
def test_rules(grader: Grader, verifier: str, gold: str, answer: str, right: bool) -> None:
    problem = Problem("p", "", gold, verifier)
    assert grader.grade(problem, rf"\boxed{{{answer}}}").verdict is (Verdict.CORRECT if right else Verdict.WRONG)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2) as grader:
        yield grader
