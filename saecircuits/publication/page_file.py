"""`write_page` and `read_page`: `report.html`, one file that opens from disk and asks for nothing.

Style, code and data are inside the file. A content security policy forbids every request and every
script and style but these two, by their digest. The data stand in a block that no browser runs,
with each `<` escaped, so that no label can end it.
"""

import base64
import hashlib
import html
import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from saecircuits.errors import RunFolderError
from saecircuits.publication.page_shape import PageData
from saecircuits.runs.storage import parse_json, read_bytes, to_json

BUNDLE: Final = "bundle"
CODE: Final = "report.js"
STYLE: Final = "report.css"
_DATA: Final = re.compile(rb'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<noscript>This page draws its graph with JavaScript, which is switched off. The same circuit is in \
figure.svg and README.md beside it.</noscript>
<div id="app"></div>
<script type="application/json" id="data">{data}</script>
<script>{code}</script>
</body>
</html>
"""


def write_page(data: PageData) -> bytes:
    """The page as UTF-8; equal data give equal bytes."""
    code, style = _bundled(CODE), _bundled(STYLE)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(code)}'",
            f"style-src '{_digest(style)}'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    page = _PAGE.format(
        policy=policy,
        title=html.escape(data.title),
        style=style,
        data=to_json(data, indent=None).decode().strip().replace("<", "\\u003c"),
        code=code,
    )
    return page.encode("utf-8", errors="replace")


def read_page(path: Path) -> PageData:
    """What a page shows, from its file.

    Raises:
        RunFolderError: a file that cannot be read, or holds no such data.
    """
    block = _DATA.search(read_bytes(path))
    if block is None:
        raise RunFolderError(f"{path} holds no data of a report; publish the run again")
    return parse_json(block[1], PageData, path=path)


@cache
def _bundled(name: str) -> str:
    """A file of the bundle; see `frontend/`."""
    text = (resources.files("saecircuits.publication") / BUNDLE / name).read_text(encoding="utf-8")
    assert "</script" not in text.lower() and "</style" not in text.lower(), f"{name} ends its tag"
    return text


def _digest(text: str) -> str:
    """As a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
