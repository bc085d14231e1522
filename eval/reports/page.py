"""What pages that are opened from the disk share: their style, how they show text, and that nothing but them runs.

What models write is not to be trusted. It enters a page as JSON inside a script element that only holds data, and its
script puts it in place as text. The style and the script's part about text are those of `browser.html`.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

POLICY_MARK, TITLE_MARK = "@policy@", "@title@"
SHARED_SCRIPT_ENDS, LIST_BEGINS, LIST_ENDS = "// ---- Problems", "/* The list */", "/* The chosen problem */"
"""Comments of `browser.html`: before the first stands how text is shown, between the others what only it has."""
# Without these three no text can end or comment out the script element that it is in.
_UNSAFE_IN_SCRIPT = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&"})


def filled(template: str, title: str) -> str:
    """A page's template with its title, and with a Content-Security-Policy in place.

    By that nothing is loaded, and nothing runs but the one script of the template.
    """
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(template, 'script')}",
            f"style-src {_hash(template, 'style')}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return template.replace(POLICY_MARK, policy).replace(TITLE_MARK, as_markup(title))


def as_markup(text: str) -> str:
    """A text inside an element or an attribute. As character references: it may hold what UTF-8 does not."""
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode("ascii")


def data_element(name: str, value: Any) -> str:
    """`value` as a script element that only holds data. All ASCII: `json` escapes the rest, lone surrogates too."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).translate(_UNSAFE_IN_SCRIPT)
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def shared_style() -> str:
    """Colours, controls, text blocks, badges and samples."""
    style = _block(_browser(), "style")
    before, _, rest = style.partition(LIST_BEGINS)
    return before + rest.partition(LIST_ENDS)[2].partition("@media (max-width")[0]


def shared_script() -> str:
    """How elements are made and texts are shown: `element`, `addText`, `textBlock`, `lastBox` and others."""
    return _block(_browser(), "script").partition(SHARED_SCRIPT_ENDS)[0]


def write_whole(parts: Iterable[str], file: Path) -> Path:
    """Write a page, replacing an older one only when the new one is complete; it is never in memory as a whole.

    Raises:
        OSError: the file cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as page:
            page.writelines(parts)
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)
    return file


def _browser() -> str:
    return files("aepo_rllib.eval.reports").joinpath("browser.html").read_text(encoding="utf-8")


def _block(template: str, tag: str) -> str:
    [block] = re.findall(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL)
    return str(block)


def _hash(template: str, tag: str) -> str:
    digest = base64.b64encode(hashlib.sha256(_block(template, tag).encode()).digest()).decode()
    return f"'sha256-{digest}'"
