"""A page inside another one: a frame that holds the whole of it and may do nothing but run.

The frame has an origin of its own (`sandbox` without `allow-same-origin`), so the page cannot read
the notebook around it, and the page's own content security policy holds inside: it asks for
nothing, with or without a network.
"""

import html
from pathlib import Path
from typing import Final

from saecircuits.runs.folder import PAGE
from saecircuits.runs.storage import read_bytes

HEIGHT: Final = 640  # pixels
# Scripts; saving pictures and tables; and links that leave, which open in a tab of their own.
SANDBOX: Final = "allow-scripts allow-downloads allow-popups allow-popups-to-escape-sandbox"


def framed(page: str, *, title: str, height: int = HEIGHT) -> str:
    """HTML that shows a page in a frame.

    Args:
        page: a complete HTML document, such as `report.html`.
        title: of the frame, for readers who do not see it.
        height: in pixels; as wide as there is room.
    """
    return (
        f'<iframe sandbox="{SANDBOX}" title="{html.escape(title, quote=True)}" width="100%" '
        f'height="{height}" style="border: 1px solid #ccc; border-radius: 4px" '
        f'srcdoc="{html.escape(page, quote=True)}"></iframe>'
    )


def page_in_frame(folder: Path | None) -> str | None:
    """A run's page as notebooks show it; None, for them to show plain text, where there is none."""
    if folder is None or not (folder / PAGE).is_file():
        return None
    page = read_bytes(folder / PAGE).decode("utf-8")
    return framed(page, title=f"The run in {folder.name}")
