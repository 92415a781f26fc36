"""Numbers of papers beside ours."""

from __future__ import annotations

from mmickd.experiments.published import read_published, sources


def test_the_note_names_each_source() -> None:
    published = {
        "teacher": None,
        "KD": read_published({"value": 73.3, "source": "arXiv 1"}),
        "IC-KD": read_published(76.05),
    }
    assert "(KD: arXiv 1; IC-KD: no source given)" in sources(published)
    assert sources({"KD": None}) == ""
