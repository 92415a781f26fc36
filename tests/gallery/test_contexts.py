"""Query examples of real runs: origin of queries and neighbours, and predictions for them."""

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
from mmickd.gallery.contexts import AFTER, BEFORE, ContextReader, StudentPredictor
from mmickd.gallery.row_locator import GalleryBank, RowLocator
from mmickd.gallery.select_queries import shuffle_images
from mmickd.gallery.structures import Point
from mmickd.sampling import image_id
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.tiny import plain_config_text

ALL = range(3)


@contextmanager
def opened(cfg: Config, **options: Any) -> Iterator[tuple[ContextReader, BankImages, OpenRun]]:
    """Yield a reader of a run, its training images, and the run."""
    with plain_config_text(), open_run(cfg) as run:
        source = GalleryBank.of(run.ready)
        students = {BEFORE: StudentPredictor(run.student, run.ready.layer)}
        options = {"neighbours": 4, "students": students, **options}
        yield ContextReader(source, **options), source.images, run


def distilled(scope: str, **options: Any) -> Config:
    return toys.toy(scope).distilled(bank={"cache_dir": None}, **options)


def test_neighbours_of_images_have_the_classes_of_their_folders() -> None:
    with opened(distilled("mmpretrain")) as (reader, images, _):
        examples = reader.balanced_examples(images, "train", shuffle_images(images, ALL, 0), 9, ALL)
    assert Counter(example.label for example in examples) == {0: 3, 1: 3, 2: 3}, (
        "classes take turns"
    )
    assert len({example.image for example in examples}) == 9
    for example in examples:
        assert Path(example.image).parent.name == f"c{example.label}" and example.point is None
        assert len(example.positives) == len(example.negatives) == 4
        for row in (*example.positives, *example.negatives):
            assert Path(row.image).parent.name == f"c{row.label}" and row.point is None
            assert row.image != example.image, "its own image is left out"
        assert {row.label for row in example.positives} == {example.label}
        assert example.label not in {row.label for row in example.negatives}
        for rows in (example.positives, example.negatives):
            similarities = [row.similarity for row in rows]
            assert similarities == sorted(similarities, reverse=True)


def label_at(image: str, point: Point | None) -> int:
    """Return the class of a scene's label map at a point."""
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
        examples = reader.balanced_examples(images, "train", shuffle_images(images, ALL, 0), 8, ALL)
    assert len(examples) == 8, "more than images: they are repeated"
    assert max(Counter(example.label for example in examples).values()) == 3
    for example in examples:
        assert label_at(example.image, example.point) == example.label
        for row in (*example.positives, *example.negatives):
            assert label_at(row.image, row.point) == row.label


def test_a_point_is_that_of_the_row(tmp_path: Path) -> None:
    with opened(distilled("mmseg")) as (reader, images, run):
        (example,) = reader.balanced_examples(images, "train", [0], 1, ALL)
        source = GalleryBank.of(run.ready)
        row = example.positives[0]
        index = next(i for i in range(len(images)) if images.name(i) == row.image)
        view = source.teacher.view_of_bank_images([images[index]])
        assert view.places is not None
        places = view.places()[0]
        at = int((places - torch.tensor(row.point)).abs().sum(dim=1).argmin())
        rows = source.bank.features[source.bank.ids == image_id(row.image)].float()
        nearest = (rows @ view.samples().features[at]).max()
    assert float(nearest) > 0.999, "some row of the image was taken from there"


def test_regions_have_no_point_and_come_once() -> None:
    with opened(distilled("mmseg", level="region")) as (reader, images, run):
        examples = reader.balanced_examples(
            images, "train", shuffle_images(images, ALL, 0), 99, ALL
        )
        rows = len(GalleryBank.of(run.ready).bank)
    queries = [(example.image, example.label) for example in examples]
    assert len(queries) == len(set(queries)) == rows
    assert all(example.point is None for example in examples)


def test_selected_images_have_an_example_of_each_selected_class() -> None:
    with opened(distilled("mmseg")) as (reader, images, _):
        examples = reader.examples_of_images(images, "train", [2], ALL)
        assert sorted(example.label for example in examples) == [0, 1, 2]
        (example,) = reader.examples_of_images(images, "train", [2], {1})
        assert example.label == 1
        assert reader.balanced_examples(images, "train", [0, 1], 5, {7}) == []


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_the_student_predicts_as_it_does_alone(scope: str) -> None:
    with opened(distilled(scope)) as (reader, images, run):
        mode = run.student.training
        (example,) = reader.balanced_examples(images, "train", [3], 1, ALL)
        assert run.student.training == mode and example.after is None and example.before is not None
        data = {name: [value] for name, value in images[3].items()}
        data = run.student.data_preprocessor(data, False)
        run.student.eval()
        with torch.no_grad():
            logits = run.student(data["inputs"], mode="tensor")
        logits = logits[0] if isinstance(logits, (list, tuple)) else logits
    if example.point is not None:
        x, y = (int(share * n) for share, n in zip(example.point, logits.shape[:1:-1], strict=True))
        logits = logits[:, :, y, x]
    best = logits[0].softmax(0).max()
    assert example.before[0].probability == pytest.approx(float(best), abs=1e-5)
    assert example.before[0].label == int(logits[0].argmax())


def test_two_students_predict() -> None:
    with opened(distilled("mmpretrain")) as (_, images, run):
        students = {n: StudentPredictor(run.student, run.ready.layer) for n in (BEFORE, AFTER)}
        reader = ContextReader(GalleryBank.of(run.ready), 2, students)
        (example,) = reader.balanced_examples(images, "train", [0], 1, ALL)
    assert example.before == example.after


def test_a_run_without_a_frozen_bank_is_refused() -> None:
    cfg = distilled("mmpretrain")
    cfg.custom_hooks[0]["teacher"] = dict(type="SelfTeacher")
    del cfg.custom_hooks[0]["bank"]
    with pytest.raises(ICKDError, match=r"offline teacher.*SelfTeacher"):
        opened(cfg).__enter__()
    with pytest.raises(ICKDError, match="loss_weight above 0"):
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
        source = GalleryBank.of(run.ready)
        images.limit(5, seed=0)
        with pytest.raises(ICKDError, match="meta_keys"):
            RowLocator(source)
