"""The page of a gallery, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from mmickd.gallery.page import write_page
from mmickd.gallery.structures import LabelIssue, Neighbour, Prediction, QueryExample
from tests.helpers.browser import needs_browser, render

NASTY = "</script><script>document.title='broken'</script><b onclick=\"x\">'&amp;"
CLASSES = ["cat", "dog", NASTY]
SIZES = {"wide.png": (300, 100)}


def picture(split: str, name: str) -> Image.Image:
    return Image.new("RGB", SIZES.get(name, (16, 16)), (200, 30, 30))


def neighbour(label: int, similarity: float, name: str = "n.png") -> Neighbour:
    return Neighbour(
        name, label, similarity, (Prediction(label, 0.9), Prediction(1 - label % 2, 0.1))
    )


def example(
    name: str, label: int, nearest: float, negative: float, student: Prediction
) -> QueryExample:
    other = (label + 1) % 3
    return QueryExample(
        image=name,
        label=label,
        split="val",
        teacher=(Prediction(label, 0.8), Prediction(other, 0.2)),
        before=(Prediction(other, 0.4), Prediction(label, 0.3)),
        after=(student,),
        positives=[neighbour(label, nearest), neighbour(label, nearest - 0.1)],
        negatives=[neighbour(other, negative)],
        point=(0.25, 0.75) if name == "wide.png" else None,
    )


EXAMPLES = [
    example("a.png", 0, 0.9, 0.2, Prediction(0, 0.9)),
    example("wide.png", 0, 0.5, 0.6, Prediction(1, 0.5)),
    example(f"{NASTY}.png", 2, 0.75, 0.8, Prediction(0, 0.99)),
    example("b.png", 1, 0.8, 0.3, Prediction(1, 0.4)),
]
LABEL_ISSUES = [LabelIssue("s0.png", 0, 1, 0.9, True), LabelIssue(f"{NASTY}0.png", 2, 0, 0.6, True)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "index.html"
    write_page(file, f"run {NASTY}", ["image level"], CLASSES, EXAMPLES, LABEL_ISSUES, 7, picture)
    return file


def test_each_image_is_there_once_and_nothing_is_fetched(page: Path) -> None:
    text = page.read_text()
    images = {row.image for row in (*EXAMPLES, *LABEL_ISSUES)} | {"n.png"}
    assert text.count("data:image/") == len(images)
    assert not re.search(r"https?:|src=|href=|@import|url\(", re.sub(r"(?s)<script.*", "", text))
    assert not re.search(r"https?://|fetch\(|XMLHttp|innerHTML|import\(", text)
    assert text.count("</script>") == 2, "names cannot end a script"


@needs_browser
def test_it_starts_with_the_first_query_and_its_context(page: Path) -> None:
    result = render(page)
    assert [attrs["data-query"] for attrs, _ in result.all(".query")] == ["0", "1", "2", "3"]
    assert result.text("h2") == "cat"
    assert result.text("#tab-contexts") == "Contexts (4)"
    text = result.text("#example")
    assert "Teacher✓ right" in text and "Student before✗ wrong" in text
    assert "Student after✓ right" in text and "a.png (val)" in text
    assert [text for _, text in result.all("figcaption")] == [
        "0.900catteacher: 90% cat", "0.800catteacher: 90% cat", "0.200dogteacher: 90% dog",
    ]  # fmt: skip
    frames = [
        attrs["class"] for attrs, _ in result.all("button") if "frame" in attrs.get("class", "")
    ]
    assert frames[:4] == ["frame queried", "frame own", "frame own", "frame other"]


@needs_browser
@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("drawn", "0123"),
        ("positives", "1230"),
        ("negatives", "2130"),
        ("margin", "1230"),
        ("student", "2130"),
    ],
)
def test_queries_are_sorted_by_hardness(page: Path, sort: str, order: str) -> None:
    result = render(page, f"sort={sort}")
    assert "".join(attrs["data-query"] for attrs, _ in result.all(".query")) == order
    (current,) = [a for a, _ in result.all(".query") if a.get("aria-current") == "true"]
    assert current["data-query"] == order[0], "the hardest is shown"


@needs_browser
def test_a_class_and_a_query_are_picked(page: Path) -> None:
    result = render(page, "class=0&sort=positives&query=0")
    assert [attrs["data-query"] for attrs, _ in result.all(".query")] == ["1", "0"]
    assert "a.png (val)" in result.text("#example") and result.text("#shown") == "2 queries"
    options = [text for _, text in result.all("option")]
    assert options[:4] == ["all (4)", "cat (2)", "dog (1)", f"{NASTY} (1)"]
    nonsense = render(page, "class=9&sort=x&query=y&tab=z")
    assert len(nonsense.all(".query")) == 4 and nonsense.text("h2") == "cat"


@needs_browser
def test_names_are_text_whatever_they_are(page: Path) -> None:
    for state in ("query=2", "tab=label-issues"):
        result = render(page, state)
        assert result.text("title") == f"run {NASTY}: mmickd gallery"
        assert result.text("h1") == f"run {NASTY}"
        assert not [attrs for attrs, _ in result.all("b") if "onclick" in attrs]
    assert render(page, "query=2").text("h2") == NASTY


@needs_browser
def test_label_issues_have_their_own_tab(page: Path) -> None:
    result = render(page, "tab=label-issues")
    assert (
        "hidden" in result.all("#contexts")[0][0]
        and "hidden" not in result.all("#label-issues")[0][0]
    )
    assert [attrs["data-image"] for attrs, _ in result.all("li")] == ["s0.png", f"{NASTY}0.png"]
    assert result.all("li")[0][1] == "1cat→dogs0.png90%"
    assert result.text("#shown") == "2 shown of 7"
    assert [text for _, text in render(page, "tab=label-issues&class=2").all(".rank")] == ["2"]


@needs_browser
def test_keys_move_and_clicks_zoom(page: Path) -> None:
    key = "document.dispatchEvent(new KeyboardEvent('keydown', {key: '%s'}));"
    result = render(page, "sort=positives", key % "ArrowDown" + key % "j" + key % "k")
    assert result.text("h2") == NASTY, "the second one"
    click = "document.querySelector('.top .frame').click();"
    result = render(page, "query=1", click)
    assert "open" in result.all("#zoom")[0][0] and result.text("#zoomed-name") == "wide.png"
    (point, *_) = [a for a, _ in result.all(".point")]
    assert point["style"] == "left: 25%; top: 75%;"
    heights = {
        a["style"] for a, _ in result.all(".picture") if a["style"].startswith("width: 100%")
    }
    assert any("33." in style for style in heights), "a wide picture stays wide"
    closed = render(page, "query=1", click + "document.querySelector('#zoom button').click();")
    assert "open" not in closed.all("#zoom")[0][0]


@needs_browser
def test_choosing_writes_the_address(page: Path) -> None:
    choose = """
        const sort = document.getElementById('sort');
        sort.value = 'student';
        sort.dispatchEvent(new Event('change'));
        document.getElementById('tab-label-issues').click();
        document.title = location.hash;
    """
    assert render(page, "", choose).text("title") == "#sort=student&tab=label-issues"


@needs_browser
def test_without_students_and_label_issues(tmp_path: Path) -> None:
    alone = QueryExample("a.png", 0, "train", (Prediction(1, 0.9),), None, None, (), ())
    write_page(tmp_path / "index.html", "run", [], CLASSES, [alone], [], 0, picture)
    result = render(tmp_path / "index.html", "sort=student")
    assert "student wrong first" not in [text for _, text in result.all("option")]
    assert "no rows" in result.text("#example") and "Student" not in result.text("#example")
    assert render(tmp_path / "index.html", "tab=label-issues").text("#rows") == "No label issues."
