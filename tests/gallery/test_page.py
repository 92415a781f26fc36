"""The page, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from mmickd.gallery.page import write_page
from mmickd.gallery.structures import Guess, LabelIssue, Neighbour, QueryExample
from tests.helpers.browser import needs_browser, shown

NASTY = "</script><script>document.title='broken'</script><b onclick=\"x\">'&amp;"
CLASSES = ["cat", "dog", NASTY]
SIZES = {"wide.png": (300, 100)}


def picture(split: str, name: str) -> Image.Image:
    return Image.new("RGB", SIZES.get(name, (16, 16)), (200, 30, 30))


def neighbour(label: int, similarity: float, name: str = "n.png") -> Neighbour:
    return Neighbour(name, label, similarity, (Guess(label, 0.9), Guess(1 - label % 2, 0.1)))


def case(name: str, label: int, own: float, others: float, student: Guess) -> QueryExample:
    other = (label + 1) % 3
    return QueryExample(
        image=name,
        label=label,
        split="val",
        teacher=(Guess(label, 0.8), Guess(other, 0.2)),
        before=(Guess(other, 0.4), Guess(label, 0.3)),
        after=(student,),
        positives=[neighbour(label, own), neighbour(label, own - 0.1)],
        negatives=[neighbour(other, others)],
        point=(0.25, 0.75) if name == "wide.png" else None,
    )


CASES = [
    case("a.png", 0, 0.9, 0.2, Guess(0, 0.9)),
    case("wide.png", 0, 0.5, 0.6, Guess(1, 0.5)),
    case(f"{NASTY}.png", 2, 0.75, 0.8, Guess(0, 0.99)),
    case("b.png", 1, 0.8, 0.3, Guess(1, 0.4)),
]
SUSPECTS = [LabelIssue("s0.png", 0, 1, 0.9), LabelIssue(f"{NASTY}0.png", 2, 0, 0.6)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "index.html"
    write_page(file, f"run {NASTY}", ["image level"], CLASSES, CASES, SUSPECTS, 7, picture)
    return file


def test_each_image_is_there_once_and_nothing_is_fetched(page: Path) -> None:
    text = page.read_text()
    images = {case.image for case in CASES} | {one.image for one in SUSPECTS} | {"n.png"}
    assert text.count("data:image/") == len(images)
    assert not re.search(r"https?:|src=|href=|@import|url\(", re.sub(r"(?s)<script.*", "", text))
    assert not re.search(r"https?://|fetch\(|XMLHttp|innerHTML|import\(", text)
    assert text.count("</script>") == 2, "names cannot end a script"


@needs_browser
def test_it_begins_with_the_first_query_and_its_context(page: Path) -> None:
    found = shown(page)
    assert [attrs["data-query"] for attrs, _ in found.all(".query")] == ["0", "1", "2", "3"]
    assert found.text("h2") == "cat"
    assert found.text("#tab-contexts") == "Contexts (4)"
    case = found.text("#case")
    assert "Teacher✓ right" in case and "Student before✗ wrong" in case
    assert "Student after✓ right" in case and "a.png (val)" in case
    assert [text for _, text in found.all("figcaption")] == [
        "0.900catteacher: 90% cat", "0.800catteacher: 90% cat", "0.200dogteacher: 90% dog",
    ]  # fmt: skip
    frames = [
        attrs["class"] for attrs, _ in found.all("button") if "frame" in attrs.get("class", "")
    ]
    assert frames[:4] == ["frame asked", "frame own", "frame own", "frame other"]


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
    found = shown(page, f"sort={sort}")
    assert "".join(attrs["data-query"] for attrs, _ in found.all(".query")) == order
    (current,) = [a for a, _ in found.all(".query") if a.get("aria-current") == "true"]
    assert current["data-query"] == order[0], "the hardest is shown"


@needs_browser
def test_a_class_and_a_query_are_picked(page: Path) -> None:
    found = shown(page, "class=0&sort=positives&query=0")
    assert [attrs["data-query"] for attrs, _ in found.all(".query")] == ["1", "0"]
    assert "a.png (val)" in found.text("#case") and found.text("#shown") == "2 queries"
    options = [text for _, text in found.all("option")]
    assert options[:4] == ["all (4)", "cat (2)", "dog (1)", f"{NASTY} (1)"]
    nonsense = shown(page, "class=9&sort=x&query=y&tab=z")
    assert len(nonsense.all(".query")) == 4 and nonsense.text("h2") == "cat"


@needs_browser
def test_names_are_text_whatever_they_are(page: Path) -> None:
    for state in ("query=2", "tab=suspects"):
        found = shown(page, state)
        assert found.text("title") == f"run {NASTY}: mmickd gallery"
        assert found.text("h1") == f"run {NASTY}"
        assert not [attrs for attrs, _ in found.all("b") if "onclick" in attrs]
    assert shown(page, "query=2").text("h2") == NASTY


@needs_browser
def test_suspects_have_their_own_tab(page: Path) -> None:
    found = shown(page, "tab=suspects")
    assert "hidden" in found.all("#contexts")[0][0] and "hidden" not in found.all("#suspects")[0][0]
    assert [attrs["data-image"] for attrs, _ in found.all("li")] == ["s0.png", f"{NASTY}0.png"]
    assert found.all("li")[0][1] == "1cat→dogs0.png90%"
    assert found.text("#shown") == "2 shown of 7"
    assert [text for _, text in shown(page, "tab=suspects&class=2").all(".rank")] == ["2"]


@needs_browser
def test_keys_move_and_clicks_zoom(page: Path) -> None:
    key = "document.dispatchEvent(new KeyboardEvent('keydown', {key: '%s'}));"
    found = shown(page, "sort=positives", key % "ArrowDown" + key % "j" + key % "k")
    assert found.text("h2") == NASTY, "the second one"
    click = "document.querySelector('.top .frame').click();"
    found = shown(page, "query=1", click)
    assert "open" in found.all("#zoom")[0][0] and found.text("#zoomed-name") == "wide.png"
    (point, *_) = [a for a, _ in found.all(".point")]
    assert point["style"] == "left: 25%; top: 75%;"
    heights = {a["style"] for a, _ in found.all(".picture") if a["style"].startswith("width: 100%")}
    assert any("33." in style for style in heights), "a wide picture stays wide"
    closed = shown(page, "query=1", click + "document.querySelector('#zoom button').click();")
    assert "open" not in closed.all("#zoom")[0][0]


@needs_browser
def test_choosing_writes_the_address(page: Path) -> None:
    choose = """
        const sort = document.getElementById('sort');
        sort.value = 'student';
        sort.dispatchEvent(new Event('change'));
        document.getElementById('tab-suspects').click();
        document.title = location.hash;
    """
    assert shown(page, "", choose).text("title") == "#sort=student&tab=suspects"


@needs_browser
def test_without_students_and_suspects(tmp_path: Path) -> None:
    alone = QueryExample("a.png", 0, "train", (Guess(1, 0.9),), None, None, (), ())
    write_page(tmp_path / "index.html", "run", [], CLASSES, [alone], [], 0, picture)
    found = shown(tmp_path / "index.html", "sort=student")
    assert "student wrong first" not in [text for _, text in found.all("option")]
    assert "none were found" in found.text("#case") and "Student" not in found.text("#case")
    assert shown(tmp_path / "index.html", "tab=suspects").text("#rows") == "No label is doubted."
