import base64
import hashlib
import json
import re
import shutil
import subprocess
import threading
import time
import unicodedata
from collections import Counter
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from aepo_rllib.envs.grading.answers import extract_answer
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.eval.reports.browser import ShownProblem, ShownSample, ShownSuite, write_page

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "</SCRIPT\n><img src=x onerror='window.hacked = 1'>",
    "<!-- <script> ",
    "<!--<script>",
    "--> ]]>",
    "<!-- data --> @policy@ @title@",
    "</title><script>window.hacked = 1</script>",
    "&lt;b&gt; &#60;script&#62; \\u003c",
    "javascript:window.hacked=1",
    "line\u2028and\u2029paragraph",
    "nul \0 and \0\0\0 and \x1b[31m and \x7f",
    "lone \ud800 and \udfff surrogates, no pair: \udfff\ud800",
    "bidi \u202egnirts\u202c \u2066x\u2069",
    "\ufeffbyte order, zero\u200bwidth, tag \U000e0041",
    "two\r\nlines, one\rreturn",
    "__proto__",
    "\"quotes\" 'and' `ticks` ${window.hacked = 1} \\",
    "\U0001d53d \u4e2d\u6587 \u0645\u0631\u062d\u0628\u0627",
)
MEGABYTE = "x" * 500_000 + "\\boxed{" * 70_000 + "\0y" * 5_000


def hostile_problem(text):
    samples = [
        ShownSample(0, text, text, "wrong", True, 5),
        ShownSample(7, f"{text}\\boxed{{1}}\n\\boxed{{\\}}{text}{{2}}}}.", text, Verdict.CORRECT.value, False, None),
        ShownSample(9, f"\\boxed{{{text}", "", text, None, 0),
    ]
    return ShownProblem(text, text, text, text, text, 1024, 1, {"wrong": 1022, "correct": 1, text: 1}, samples)


@pytest.fixture
def hostile_suites():
    large = ShownProblem(
        "large", "", MEGABYTE, MEGABYTE, "1", 1, 0, {}, [ShownSample(0, MEGABYTE, "", "no_answer", True, 1)]
    )
    return [
        ShownSuite(HOSTILE[0], HOSTILE[1], [hostile_problem(text) for text in HOSTILE]),
        ShownSuite("large", "", [large]),
    ]


class Page(HTMLParser):
    """A page's start tags, and the text of its script and style elements."""

    def __init__(self, file):
        super().__init__()
        self.tags, self.blocks, self.title, self.inside = [], [], "", None
        self.feed(file.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.blocks.append([dict(attrs), ""])

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside in ("script", "style"):
            self.blocks[-1][1] += data
        elif self.inside == "title":
            self.title += data

    @property
    def data(self):
        return {attrs["id"]: json.loads(text) for attrs, text in self.blocks if attrs.get("type") == "application/json"}


def test_holds_exactly_what_it_was_given(tmp_path, hostile_suites):
    page = Page(write_page(hostile_suites, tmp_path / "new" / "page.html", title=HOSTILE[0]))
    index = page.data["index"]
    assert index["title"] == HOSTILE[0]
    assert page.title.startswith(HOSTILE[0])
    for place, suite in enumerate(hostile_suites):
        assert (index["suites"][place]["name"], index["suites"][place]["title"]) == (suite.name, suite.title)
        for number, problem in enumerate(suite.problems):
            listed = index["suites"][place]["problems"][number]
            chosen = page.data[f"samples-{place}-{number}"]
            samples = [ShownSample(**sample) for sample in chosen["samples"]]
            assert ShownProblem(**listed, prompt=chosen["prompt"], samples=samples) == problem


def test_no_text_becomes_markup(tmp_path, hostile_suites):
    empty = Page(write_page([], tmp_path / "empty.html", title=""))
    file = write_page(hostile_suites, tmp_path / "page.html", title="".join(HOSTILE))
    tags = Counter(tag for tag, _ in Page(file).tags)
    problems = sum(len(suite.problems) for suite in hostile_suites)
    assert tags == Counter(tag for tag, _ in empty.tags) + Counter(script=problems)
    text = file.read_bytes()
    assert text.isascii()
    assert len(re.findall(rb"</script", text, re.IGNORECASE)) == problems + 2
    assert b"<!--" not in text


def test_runs_its_own_script_only_and_loads_nothing(tmp_path):
    page = Page(write_page([], tmp_path / "page.html", title="a page"))
    (policy,) = (
        attrs["content"] for tag, attrs in page.tags if tag == "meta" and "Policy" in attrs.get("http-equiv", "")
    )
    for attrs, text in page.blocks:
        if "type" not in attrs:
            assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    template = files("aepo_rllib.eval.reports").joinpath("browser.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|\bsrc=|url\(|@import|<link", template)
    assert not re.search(r"(inner|outer)HTML|insertAdjacent|document\.write|\beval\(|\son\w+=", template)


def test_an_older_page_stays_until_the_new_one_is_complete(tmp_path):
    file = write_page([], tmp_path / "page.html", title="old")
    unwritable = ShownProblem("p", "", "", "", "", 1, 0, {}, [ShownSample(0, object(), "", "wrong", None, None)])
    with pytest.raises(TypeError):
        write_page([ShownSuite("s", "", [unwritable])], file, title="new")
    assert Page(file).title == "old"
    write_page([], file, title="new")
    assert Page(file).title == "new"
    assert list(tmp_path.iterdir()) == [file]


# ---- In a browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Chromium:
    """A headless Chromium with one tab, spoken to over a pipe in its DevTools protocol."""

    FLAGS = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
    )

    def __init__(self, profile):
        # It reads from file descriptor 3 and writes to 4.
        command = ("sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null', "sh", CHROMIUM, *self.FLAGS)
        self.process = subprocess.Popen(
            (*command, f"--user-data-dir={profile}", "--window-size=1280,800"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.watchdog = threading.Timer(120, self.process.kill)
        self.watchdog.start()
        self.events, self.calls, self.session = [], 0, {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self.calls += 1
        message = {"id": self.calls, "method": method, "params": params, **self.session}
        self.process.stdin.write(json.dumps(message).encode() + b"\0")
        self.process.stdin.flush()
        while True:
            answer = json.loads(self._message())
            if answer.get("id") == self.calls:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _message(self):
        parts = bytearray()
        while (byte := self.process.stdout.read(1)) != b"\0":
            assert byte, "Chromium ended"
            parts += byte
        return bytes(parts)

    def open(self, url):
        # From a page of its own, or an address that differs in its hash alone would load nothing.
        for address in ("about:blank", url):
            self.call("Page.navigate", url=address)
            self.wait(f"location.href.startsWith({json.dumps(address[:11])}) && document.readyState === 'complete'")

    def evaluate(self, script):
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, condition):
        deadline = time.monotonic() + 20
        while not self.evaluate(condition):
            assert time.monotonic() < deadline, condition
            time.sleep(0.02)

    def press(self, key):
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def text(self, selector):
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent")

    def texts(self, selector):
        return self.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map(found => found.textContent)")

    def heard(self, *methods):
        return [event["params"] for event in self.events if event.get("method") in methods]

    def close(self):
        self.watchdog.cancel()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def chromium(tmp_path):
    if CHROMIUM is None:
        pytest.skip("no Chromium here; Debian's package `chromium` has one")
    browser = Chromium(tmp_path / "profile")
    yield browser
    browser.close()


def visible(text):
    """`text` as the page shows it: characters without a shape by their numbers, runs of one counted."""

    def shown(match):
        character, run = match[1], match[0]
        if character in "\t\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            return run
        return f"U+{ord(character):04X}" + (f"\u00d7{len(run)}" if len(run) > 1 else "")

    return "\r\n".join(re.sub(r"(.)\1*", shown, piece, flags=re.DOTALL) for piece in text.split("\r\n"))


@pytest.mark.process
def test_in_a_browser(tmp_path, chromium, hostile_suites):
    url = write_page(hostile_suites, tmp_path / "page.html", title=HOSTILE[0]).as_uri()
    chromium.open(url)
    assert chromium.text("#count") == f"{len(HOSTILE) + 1} problems"

    # Every text is shown as it is, and none runs.
    for place, text in enumerate(HOSTILE):
        if place > 0:
            chromium.press("j" if place % 2 else "ArrowDown")
        assert chromium.text("h1") == visible(text)
        samples = hostile_suites[0].problems[place].samples
        assert chromium.texts(".sample > .text") == [visible(sample.text) for sample in samples]
        # The marked answer is the one that is graded; the last box is not closed.
        assert chromium.texts(".sample mark") == [
            f"\\boxed{{{visible(extract_answer(samples[1].text))}}}",
            "\\boxed{",
        ]
        assert "3 of 1024 samples shown" in chromium.texts("h2")
        assert chromium.texts(".sample .cut") == ["\u2702 cut off"]
    chromium.press("k")
    assert chromium.text("h1") == visible(HOSTILE[-2])

    # A long text is folded until asked for.
    chromium.press("/")
    chromium.call("Input.insertText", text="LARG")
    assert chromium.text("#count") == f"1 of {len(HOSTILE) + 1} problems"
    chromium.press("Enter")
    assert chromium.text("h1") == "large"
    assert len(chromium.text(".sample > .text")) < 10_000
    chromium.evaluate("document.querySelector('.sample .more').click()")
    assert chromium.text(".sample pre") == visible(MEGABYTE)
    chromium.wait("location.hash === '#large/large'")

    # An address leads to its problem, by a click and from outside.
    chromium.evaluate("document.querySelector('#search').value = ''; list()")
    chromium.evaluate("document.querySelectorAll('#list a')[11].click()")
    chromium.wait(f"document.querySelector('h1').textContent === {json.dumps(visible(HOSTILE[11]))}")
    address = chromium.evaluate("location.href")
    assert address.startswith(f"{url}#")
    chromium.open(address)
    assert chromium.text("h1") == visible(HOSTILE[11])

    assert chromium.evaluate("window.hacked") is None
    assert not chromium.heard("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    assert not chromium.heard("Page.javascriptDialogOpening")
    loaded = {request["documentURL"].partition("#")[0] for request in chromium.heard("Network.requestWillBeSent")}
    assert loaded == {url}
    # Nor would it run if it did become markup. This also shows that the log above is heard.
    chromium.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.hacked = 1'}))"
    )
    assert chromium.evaluate("window.hacked") is None
    assert any("Content Security Policy" in entry["entry"]["text"] for entry in chromium.heard("Log.entryAdded"))
