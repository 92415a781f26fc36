"""Labels of grid cells against exact arithmetic on fractions."""

import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmickd.tasks.grid import cell_centres, labels_on_grid, resize


def slow_centre(i, cells, size, align_corners):
    """Return the centre of cell i in pixels of the input: pixel p covers [p, p + 1)."""
    if align_corners and cells > 1:
        return Fraction(i * (size - 1), cells - 1) + Fraction(1, 2)
    return (Fraction(i) + Fraction(1, 2)) * Fraction(size, cells)


def slow_labels(gt, grid, input_shape, image_shape, align_corners, classes, ignore):
    rows = []
    for i in range(grid[0]):
        row = []
        for j in range(grid[1]):
            places = []
            for index, axis in ((i, 0), (j, 1)):
                centre = slow_centre(index, grid[axis], input_shape[axis], align_corners)
                size = (len(gt), len(gt[0]))[axis]
                is_inside = centre < image_shape[axis]
                place = math.floor(centre * Fraction(size, image_shape[axis]))
                places.append(place if is_inside else None)
            if None in places:
                row.append(-1)
                continue
            value = gt[places[0]][places[1]]
            row.append(value if value != ignore and 0 <= value < classes else -1)
        rows.append(row)
    return rows


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("grid", "size"), [((3, 5), (24, 40)), ((1, 4), (7, 9)), ((6, 1), (6, 5))])
def test_centres_equal_loop(grid, size, align_corners):
    expected = [
        [float(slow_centre(j, grid[1], size[1], align_corners)),
         float(slow_centre(i, grid[0], size[0], align_corners))]
        for i in range(grid[0]) for j in range(grid[1])
    ]  # fmt: skip
    assert torch.allclose(cell_centres(grid, size, align_corners), torch.tensor(expected))


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(0, 8), st.integers(0, 8)),
    st.tuples(st.integers(1, 50), st.integers(1, 50)) | st.none(),
    st.booleans(),
    st.sampled_from([255, 2, 4, -1]),
)
def test_equals_loop(seed, grid, image_shape, padding, gt_shape, align_corners, ignore):
    """Padding, ground truth of another size, ignored and impossible labels."""
    input_shape = (image_shape[0] + padding[0], image_shape[1] + padding[1])
    g = torch.Generator().manual_seed(seed)
    gt = torch.randint(-1, 6, gt_shape or image_shape, generator=g)
    result = labels_on_grid(gt[None], grid, input_shape, image_shape, align_corners, 4, ignore)
    expected = slow_labels(gt.tolist(), grid, input_shape, image_shape, align_corners, 4, ignore)
    assert result.dtype == torch.long and result.shape == (1, *grid)
    assert result[0].tolist() == expected


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("cells", [45, 65, 97, 129])
@pytest.mark.parametrize("size", [180, 513, 720, 769, 1024])
def test_real_sizes_are_exact(align_corners, cells, size):
    """A centre may lie on the border of two pixels, where rounding of floats would decide."""
    for gt_size in (size, 2 * size, 360):
        numbers = torch.arange(gt_size)[None, :, None]
        shapes = (cells, 1), (size, 1), (size, 1)
        result = labels_on_grid(numbers, *shapes, align_corners, gt_size, -5)
        centres = [slow_centre(i, cells, size, align_corners) for i in range(cells)]
        expected = [math.floor(centre * Fraction(gt_size, size)) for centre in centres]
        assert result.flatten().tolist() == expected


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("shape", [(32, 48), (33, 49)])
def test_a_cell_lies_where_the_heads_resize_puts_it(align_corners, shape):
    """Upsampling a one-hot cell peaks at the pixel that its label is taken from."""
    grid = (5, 7)
    numbers = torch.arange(shape[0] * shape[1]).view(1, *shape)
    label = labels_on_grid(numbers, grid, shape, shape, align_corners, shape[0] * shape[1], -5)
    for i in range(grid[0]):
        for j in range(grid[1]):
            cell = torch.zeros(1, 1, *grid)
            cell[0, 0, i, j] = 1
            up = F.interpolate(cell, shape, mode="bilinear", align_corners=align_corners)[0, 0]
            y, x = divmod(int(label[0, i, j]), shape[1])
            assert up[y, x] >= up.max() - 0.2
            assert up[y, x] >= 0.6


def test_several_images_at_once():
    gt = torch.stack([torch.zeros(8, 8), torch.ones(8, 8)])
    labels = labels_on_grid(gt, (2, 2), (8, 8), (8, 8), False, 3, 255)
    assert labels[0].unique().tolist() == [0] and labels[1].unique().tolist() == [1]


def test_uint8_ground_truth_of_void():
    gt = torch.full((1, 4, 4), 255, dtype=torch.uint8)
    assert labels_on_grid(gt, (2, 2), (4, 4), (4, 4), False, 19, 255).unique().tolist() == [-1]


@pytest.mark.parametrize("align_corners", [False, True])
def test_resize(align_corners):
    logits = torch.randn(2, 3, 4, 6)
    assert resize(logits, (4, 6), align_corners) is logits
    result = resize(logits.half(), (7, 9), align_corners)
    expected = F.interpolate(
        logits.half().float(), (7, 9), mode="bilinear", align_corners=align_corners
    )
    assert torch.equal(result, expected)
    other = F.interpolate(logits, (7, 9), mode="bilinear", align_corners=not align_corners)
    assert not torch.allclose(result, other, atol=1e-2)
