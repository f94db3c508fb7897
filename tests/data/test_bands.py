"""Of a TIFF with more than three bands the three are read that data.bands names."""

import numpy as np
import pytest
import tifffile
import torch
from trees import fails, folder_tree

from eln_kit import cli
from eln_kit.data import Item, open_dataset, read_image
from eln_kit.data.pictures import upright_size
from eln_kit.store.params_file import build

BANDS = np.random.default_rng(0).integers(0, 256, (12, 16, 5), dtype=np.uint8)
PLANES = np.ascontiguousarray(np.moveaxis(BANDS, -1, 0))
WAYS = {
    "in each pixel": (BANDS, {"planarconfig": "contig"}),
    "packed": (BANDS, {"planarconfig": "contig", "compression": "lzw"}),
    "one plane after the other": (PLANES, {"planarconfig": "separate"}),
    "a page each": (PLANES, {}),
    "signed": (BANDS.astype(np.int16), {"planarconfig": "contig"}),
}


def write(path, way="in each pixel", scale=None):
    numbers, options = WAYS[way]
    numbers = numbers if scale is None else numbers.astype(np.uint16) * scale
    tifffile.imwrite(path, numbers, photometric="minisblack", **options)
    return path


@pytest.mark.parametrize("way", WAYS)
def test_the_bands_asked_for_are_read_in_their_order(tmp_path, way):
    item = Item("a", write(tmp_path / "a.tif", way), depth=8, bands=(5, 1, 3))
    assert upright_size(item.image) == (16, 12)
    assert torch.equal(read_image(item), torch.from_numpy(BANDS[..., [4, 0, 2]]).permute(2, 0, 1))


def test_bands_of_sixteen_bits_keep_all_of_them(tmp_path):
    item = Item("a", write(tmp_path / "a.tif", scale=16), depth=12, bands=(1, 2, 3))
    expected = torch.from_numpy(BANDS[..., :3].astype(np.int32) * 16 * 255 // 4095).permute(2, 0, 1)
    assert torch.equal(read_image(item), expected.byte())


@pytest.mark.parametrize("way", WAYS)
def test_without_data_bands_such_a_file_is_refused_with_what_to_write(tmp_path, way):
    with fails("data.bands"):
        read_image(Item("a", write(tmp_path / "a.tif", way)))


@pytest.mark.parametrize(
    ("content", "bands", "why"),
    [
        (BANDS, (6, 1, 2), "has 5 bands, and data.bands asks for number 6"),
        (BANDS.astype(np.float32), (1, 2, 3), "holds float32 numbers; save it with 8 or 16 bits a band"),
        (BANDS[..., 0], (1, 2, 3), "no bands for data.bands to choose of"),
        (None, (1, 2, 3), "cannot be read as a TIFF, which data.bands takes each image for"),
    ],
)
def test_what_has_no_such_bands_is_one_line(tmp_path, content, bands, why):
    file = tmp_path / "a.tif"
    if content is None:
        file.write_bytes(b"no image")
    else:
        tifffile.imwrite(
            file, content, photometric="minisblack", **({"planarconfig": "contig"} if content.ndim == 3 else {})
        )
    with fails(why):
        read_image(Item("a", file, bands=bands))


def test_an_image_that_a_tag_turns_is_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", BANDS, photometric="minisblack", planarconfig="contig", extratags=[(274, 3, 1, 6, True)]
    )
    with fails("is turned by a tag, which data.bands does not follow"):
        read_image(Item("a", tmp_path / "a.tif", bands=(1, 2, 3)))


def test_a_folder_of_such_files_is_checked_with_its_masks(tmp_path, capsys):
    folder_tree(tmp_path)
    for image in (tmp_path / "images").rglob("*.png"):
        write(image.with_suffix(".tif"), scale=40)
        image.unlink()
    knobs = {"data.name": "folder", "data.root": str(tmp_path), "data.bands": [3, 2, 1]}
    dataset = open_dataset(build({}, knobs).data)
    assert {item.depth for item in dataset.train + dataset.val} == {14}
    assert dataset.train[0].bands == (3, 2, 1)
    said = [
        f"{name}={value}"
        for name, value in (knobs | {"views.crop": [16, 16], "data.labels": 1, "data.held_out": 0}).items()
    ]
    assert cli.main(["check", "params/photos.yaml", *(part for one in said for part in ("--set", one))]) == 0
    assert "bands       3, 2, 1 of each TIFF are read" in capsys.readouterr().out
