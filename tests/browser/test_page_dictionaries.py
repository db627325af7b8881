"""What the page says of the dictionaries: their fit, and activations with signs."""

import pytest

from tests.browser.opened import Open


def test_the_fit_of_the_dictionaries_is_told(opened: Open) -> None:
    page = opened()
    assert page.text(".fit caption").endswith("on 88 tokens of the training prompts.")
    heads = page.run(
        "return [...document.querySelectorAll('.fit thead th')].map((e) => e.innerText)"
    )
    assert heads == ["variance explained", "L0"]
    stated, silent = page.run(
        "return [...document.querySelectorAll('.fit tbody tr')]"
        ".map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    assert stated[1:] == ["0.813 (source: 0.875)", "1021.3 (source: 1020.5)"]
    assert silent[1:] == ["0.813", "1021.3"]
    name = silent[0]
    assert f"Features of {name} have signs" in page.text(".fit")


def test_negative_activations_have_a_colour_of_their_own(opened: Open) -> None:
    page = opened()
    color = "getComputedStyle(p.appendChild(Object.assign(document.createElement('span'), {"
    positive, negative = (
        page.run(
            "const p = document.body.appendChild(document.createElement('p'));"
            f"p.className = 'context'; return {color}className: '{kind}', style: '--heat: 1'}})))"
            ".backgroundColor"
        )
        for kind in ("", "negative")
    )
    assert positive != negative and "0.42" in positive and "0.42" in negative


@pytest.mark.parametrize("width", [1000, 1400])
def test_the_answer_does_not_scroll_sideways(opened: Open, width: int) -> None:
    page = opened(size=(width, 900))
    assert page.count(".fit td small") > 0
    page.run("document.querySelectorAll('.story details').forEach((part) => { part.open = true; })")
    story = "const story = document.querySelector('.story');"
    assert page.run(f"{story} return story.scrollWidth - story.clientWidth") == 0
