"""Cases of real runs: where queries and neighbours come from, and what is said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmickd.banks.shard import BankShard
from mmickd.building.images import BankImages
from mmickd.commands.open_run import OpenRun, open_run
from mmickd.gallery.contexts import AFTER, BEFORE, ContextReader
from mmickd.gallery.row_locator import GalleryBank, RowLocator
from mmickd.gallery.select_queries import images_by_chance
from mmickd.gallery.structures import Point
from mmickd.gallery.student_predictor import StudentPredictor
from mmickd.sampling import image_id
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.tiny import plain_config_text

ALL = range(3)


@contextmanager
def opened(cfg: Config, **options: Any) -> Iterator[tuple[ContextReader, BankImages, OpenRun]]:
    """A reader of a run, and the run."""
    with plain_config_text(), open_run(cfg) as run:
        asked = GalleryBank.of(run.ready)
        students = {BEFORE: StudentPredictor(run.student, run.ready.layer)}
        options = {"neighbours": 4, "students": students, **options}
        yield ContextReader(asked, **options), asked.images, run


def distilled(scope: str, **options: Any) -> Config:
    return toys.toy(scope).distilled(bank={"cache_dir": None}, **options)


def test_neighbours_of_images_are_images_of_the_classes_that_their_folders_say() -> None:
    with opened(distilled("mmpretrain")) as (reader, images, _):
        cases = reader.by_chance(images, "train", images_by_chance(images, ALL, 0), 9, ALL)
    assert Counter(case.label for case in cases) == {0: 3, 1: 3, 2: 3}, "classes take turns"
    assert len({case.image for case in cases}) == 9
    for case in cases:
        assert Path(case.image).parent.name == f"c{case.label}" and case.point is None
        assert len(case.positives) == len(case.negatives) == 4
        for one in (*case.positives, *case.negatives):
            assert Path(one.image).parent.name == f"c{one.label}" and one.point is None
            assert one.image != case.image, "its own image is left out"
        assert {one.label for one in case.positives} == {case.label}
        assert case.label not in {one.label for one in case.negatives}
        for rows in (case.positives, case.negatives):
            similarities = [one.similarity for one in rows]
            assert similarities == sorted(similarities, reverse=True)


def label_at(image: str, point: Point | None) -> int:
    """What the label map of a scene says at a point."""
    assert point is not None
    truth = Image.open(image.replace("img_dir", "ann_dir"))
    # a cell's centre may be the border of two pixels, which float32 falls short of
    x, y = (int(share * size + 1e-3) for share, size in zip(point, truth.size, strict=True))
    return int(truth.getpixel((x, y)))


@pytest.mark.parametrize("align_corners", [False, True])
def test_pixels_lie_where_the_label_map_has_their_class(align_corners: bool) -> None:
    cfg = distilled("mmseg")
    cfg.custom_hooks[0]["teacher"]["cfg"]["model"]["decode_head"]["align_corners"] = align_corners
    with opened(cfg) as (reader, images, _):
        cases = reader.by_chance(images, "train", images_by_chance(images, ALL, 0), 8, ALL)
    assert len(cases) == 8, "more than images: they are gone through again"
    assert max(Counter(case.label for case in cases).values()) == 3
    for case in cases:
        assert label_at(case.image, case.point) == case.label
        for one in (*case.positives, *case.negatives):
            assert label_at(one.image, one.point) == one.label


def test_a_place_is_that_of_the_row(tmp_path: Path) -> None:
    with opened(distilled("mmseg")) as (reader, images, run):
        (case,) = reader.by_chance(images, "train", [0], 1, ALL)
        asked = GalleryBank.of(run.ready)
        one = case.positives[0]
        index = next(i for i in range(len(images)) if images.name(i) == one.image)
        view = asked.teacher.view_of_bank_images([images[index]])
        assert view.places is not None
        places = view.places()[0]
        at = int((places - torch.tensor(one.point)).abs().sum(dim=1).argmin())
        rows = asked.bank.features[asked.bank.ids == image_id(one.image)].float()
        nearest = (rows @ view.samples().features[at]).max()
    assert float(nearest) > 0.999, "some row of the image was taken from there"


def test_regions_have_no_point_and_come_once() -> None:
    with opened(distilled("mmseg", level="region")) as (reader, images, run):
        cases = reader.by_chance(images, "train", images_by_chance(images, ALL, 0), 99, ALL)
        rows = len(GalleryBank.of(run.ready).bank)
    asked = [(case.image, case.label) for case in cases]
    assert len(asked) == len(set(asked)) == rows
    assert all(case.point is None for case in cases)


def test_given_images_have_a_case_of_each_class_and_classes_are_kept_to() -> None:
    with opened(distilled("mmseg")) as (reader, images, _):
        cases = reader.of_images(images, "train", [2], ALL)
        assert sorted(case.label for case in cases) == [0, 1, 2]
        assert [case.label for case in reader.of_images(images, "train", [2], {1})] == [1]
        assert reader.by_chance(images, "train", [0, 1], 5, {7}) == []


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_the_student_says_what_it_says_alone(scope: str) -> None:
    with opened(distilled(scope)) as (reader, images, run):
        mode = run.student.training
        (case,) = reader.by_chance(images, "train", [3], 1, ALL)
        assert run.student.training == mode and case.after is None and case.before is not None
        data = {name: [value] for name, value in images[3].items()}
        data = run.student.data_preprocessor(data, False)
        run.student.eval()
        with torch.no_grad():
            logits = run.student(data["inputs"], mode="tensor")
        logits = logits[0] if isinstance(logits, (list, tuple)) else logits
    if case.point is not None:
        x, y = (int(share * n) for share, n in zip(case.point, logits.shape[:1:-1], strict=True))
        logits = logits[:, :, y, x]
    best = logits[0].softmax(0).max()
    assert case.before[0].probability == pytest.approx(float(best), abs=1e-5)
    assert case.before[0].label == int(logits[0].argmax())


def test_another_student_is_asked_beside_the_first() -> None:
    with opened(distilled("mmpretrain")) as (_, images, run):
        voices = {n: StudentPredictor(run.student, run.ready.layer) for n in (BEFORE, AFTER)}
        reader = ContextReader(GalleryBank.of(run.ready), 2, voices)
        (case,) = reader.by_chance(images, "train", [0], 1, ALL)
    assert case.before == case.after


def test_without_a_frozen_bank_there_is_nothing_to_show() -> None:
    cfg = distilled("mmpretrain")
    cfg.custom_hooks[0]["teacher"] = dict(type="SelfTeacher")
    del cfg.custom_hooks[0]["bank"]
    with pytest.raises(ICKDError, match="frozen bank of an offline teacher, and SelfTeacher"):
        opened(cfg).__enter__()
    with pytest.raises(ICKDError, match="none that counts"):
        opened(distilled("mmpretrain", losses=toys.KD_ONLY)).__enter__()


def test_a_part_of_a_bank_is_refused() -> None:
    with opened(distilled("mmpretrain")) as (_, _images, run):
        banks = run.distiller.teacher.memories["teacher"].banks
        whole = banks["image"]
        banks["image"] = BankShard(whole, 0, 2, 2 * len(whole), whole.max_class_size)
        with pytest.raises(ICKDError, match=r"bank\.shard=False"):
            GalleryBank.of(run.ready)


def test_rows_of_other_images_are_refused() -> None:
    with opened(distilled("mmpretrain")) as (_, images, run):
        asked = GalleryBank.of(run.ready)
        images.limit(5, seed=0)
        with pytest.raises(ICKDError, match="cannot be traced"):
            RowLocator(asked)
