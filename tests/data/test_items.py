import numpy as np
import pytest
import torch
from PIL import Image
from trees import (
    fails,
    masked_dataset,
    write_image,
    write_mask,
)

from eln_kit.data import VOID, Item, read_image, read_mask


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG", "a.bmp", "a.tif", "a.webp"])
def test_an_image_is_three_channels_of_uint8(tmp_path, name):
    image = read_image(Item("a", write_image(tmp_path / name, (6, 9), value=100)))
    assert image.shape == (3, 6, 9)
    assert image.dtype == torch.uint8
    assert abs(image.int() - 100).max() <= 2


def test_grey_is_repeated_and_alpha_ignored(tmp_path):
    Image.fromarray(np.array([[0, 77]], np.uint8)).save(tmp_path / "grey.png")
    assert read_image(Item("grey", tmp_path / "grey.png")).tolist() == [[[0, 77]]] * 3
    Image.fromarray(np.array([[[1, 2, 3, 0], [4, 5, 6, 255]]], np.uint8)).save(tmp_path / "alpha.png")
    assert read_image(Item("alpha", tmp_path / "alpha.png")).flatten(1).T.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bit_grey_is_scaled_to_eight(tmp_path, name):
    Image.fromarray(np.array([[0, 257 * 128, 65535]], np.uint16)).save(tmp_path / name)
    assert read_image(Item("deep", tmp_path / name)).tolist() == [[[0, 128, 255]]] * 3


@pytest.mark.parametrize("kind", ["jpg", "tif"])
def test_a_photograph_on_its_side_is_turned_upright_and_its_mask_fits(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255  # the left half of the file is the top of the upright image
    Image.fromarray(pixels).save(tmp_path / f"a.{kind}", exif=exif)
    item = Item("a", tmp_path / f"a.{kind}", write_mask(tmp_path / "a.png", size=(16, 8)))
    image = read_image(item)
    assert image.shape == (3, 16, 8)
    assert image[:, :7].min() > 200
    assert image[:, 9:].max() < 55
    assert read_mask(item, masked_dataset(tmp_path, [(0, 1)])).shape == (16, 8)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_mask_is_indices_and_void_whatever_its_palette(tmp_path, mode):
    dataset = masked_dataset(tmp_path, [(0, 1)])
    item = Item("a", write_image(tmp_path / "a.png"), write_mask(tmp_path / "m.png", (3, 5, VOID), mode=mode))
    mask = read_mask(item, dataset)
    assert mask.shape == (12, 16)
    assert mask.dtype == torch.uint8
    assert mask[0, :4].tolist() == [3, 5, VOID, 3]


def test_a_mask_of_another_size_is_an_error_that_names_both_files_and_sizes(tmp_path):
    item = Item("a", write_image(tmp_path / "a.jpg"), write_mask(tmp_path / "m.png", size=(12, 15)))
    with fails(r"m\.png: 15 x 12 pixels, but its image \S*a\.jpg has 16 x 12"):
        read_mask(item, masked_dataset(tmp_path, [(0, 1)]))
