"""Files as they come from the wild: each works as one would expect, or is one line that names it."""

import io
import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from trees import fails, folder_tree, masked_dataset, write_image, write_mask

from eln_kit import cli
from eln_kit.data import DataSet, Item, open_dataset, read_image, read_mask
from eln_kit.data.classes import palette
from eln_kit.faults import DataError
from eln_kit.params import Data
from eln_kit.tools.survey import survey

TWO_CLASSES = DataSet("made", ["a", "b"], palette(2), [], [])
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A small file whose header tells of a huge image."""
    content = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = PngImagePlugin._crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


def deep_color(largest: int, alpha: int | None = None) -> bytes:
    """A PNG with three or four channels of 16 bits, 16 x 12, which Pillow cannot write."""
    rows = np.linspace(0, largest, 12 * 48).reshape(12, 16, 3)
    if alpha is not None:
        rows = np.concatenate([rows, np.full((12, 16, 1), alpha)], axis=2)
    content = b"".join(b"\0" + row.tobytes() for row in rows.astype(">u2"))
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", 16, 12, 16, 2 if alpha is None else 6, 0, 0, 0),
        b"IDAT": zlib.compress(content),
        b"IEND": b"",
    }
    chunks = (struct.pack(">I", len(p)) + n + p + struct.pack(">I", zlib.crc32(n + p)) for n, p in parts.items())
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


WORKS = {
    "CMYK": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "16 bits": encoded(Image.fromarray(np.arange(192, dtype=np.uint16).reshape(12, 16) * 300), "PNG"),
    "a palette": encoded(PICTURE.convert("P"), "PNG"),
    "1 bit": encoded(PICTURE.convert("1"), "PNG"),
    "grey with alpha": encoded(PICTURE.convert("LA"), "PNG"),
    "JPEG called PNG": encoded(PICTURE, "JPEG"),
    "a JPEG with its preview": encoded(
        PICTURE, "MPO", save_all=True, append_images=[PICTURE.resize((8, 6))], quality=100, subsampling=0
    ),
    "a TIFF with overviews": encoded(PICTURE, "TIFF", save_all=True, append_images=[PICTURE.resize((8, 6))]),
    "an overview first": encoded(PICTURE.resize((8, 6)), "TIFF", save_all=True, append_images=[PICTURE]),
    "16 bits of colour": deep_color(65535),
}
REFUSED = {
    "nothing": (b"", "cannot be read as an image"),
    "text": (b"no image", "cannot be read as an image"),
    "half a PNG": (encoded(PICTURE, "PNG")[:200], "cannot be read as an image"),
    "a bomb": (png_that_claims(60000, 60000), "has more than 179 million pixels; cut it into tiles"),
    "no width": (png_that_claims(0, 5), "cannot be read as an image"),
    "animated": (encoded(PICTURE, "PNG", save_all=True, append_images=[PICTURE.rotate(180)]), "holds 2 frames"),
    "two pages": (encoded(PICTURE, "TIFF", save_all=True, append_images=[PICTURE]), "holds 2 frames or pages"),
    "floats": (encoded(Image.fromarray(np.zeros((3, 3), np.float32)), "TIFF"), "floating-point"),
}


@pytest.mark.parametrize("name", WORKS)
def test_an_image_of_an_unusual_kind_is_read(tmp_path, name):
    (tmp_path / "a.png").write_bytes(WORKS[name])
    assert read_image(Item("a", tmp_path / "a.png")).shape == (3, 12, 16)


@pytest.mark.parametrize("name", ["a JPEG with its preview", "a TIFF with overviews", "an overview first"])
def test_of_a_file_with_previews_the_full_picture_is_read_and_its_mask_fits(tmp_path, name):
    (tmp_path / "a.png").write_bytes(WORKS[name])
    item = Item("a", tmp_path / "a.png", write_mask(tmp_path / "m.png"))
    image = read_image(item).permute(1, 2, 0).numpy().astype(int)
    assert abs(image - np.asarray(PICTURE)).mean() < 5
    assert read_mask(item, TWO_CLASSES).shape == (12, 16)


@pytest.mark.parametrize("alpha", [None, 65535])
def test_colour_of_16_bits_that_are_not_all_used_is_one_line_and_not_a_few_tones(tmp_path, alpha):
    root = folder_tree(tmp_path)
    (root / "images/train/00.png").write_bytes(deep_color(2040, alpha))
    with fails(r"train/00\.png: 16-bit colour that uses 12 bits cannot be scaled; save it as an 8-bit image, or"):
        survey(open_dataset(Data(name="folder", root=str(root))))


@pytest.mark.parametrize("name", REFUSED)
def test_an_unusable_image_is_one_line(tmp_path, name):
    content, why = REFUSED[name]
    (tmp_path / "a.png").write_bytes(content)
    with fails(rf"^\S*a\.png: .*{why}") as fault:
        read_image(Item("a", tmp_path / "a.png"))
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (encoded(Image.new("L", (16, 12)), "JPEG"), "is a JPEG by another name"),
        (encoded(Image.new("L", (16, 12)), "WEBP"), "is a WEBP by another name"),
        (encoded(Image.new("L", (16, 12)), "TIFF", compression="jpeg"), "is compressed like a JPEG"),
        (
            encoded(PICTURE.convert("P"), "GIF", save_all=True, append_images=[PICTURE.rotate(90).convert("P")]),
            "frames",
        ),
        (
            encoded(Image.new("L", (16, 12)), "PNG", save_all=True, append_images=[Image.new("L", (16, 12), 1)]),
            "frames",
        ),
        (encoded(Image.new("RGB", (16, 12), (1, 0, 0)), "PNG"), r"a colour image .*here are \[1, 0, 0\]"),
        (encoded(Image.new("L", (16, 12), 254), "PNG"), "value 254 is no class; valid are 0 to 1"),
        (encoded(Image.new("L", (16, 12), 2), "PNG"), "value 2 is no class; valid are 0 to 1"),
        (encoded(Image.fromarray(np.full((12, 16), 300, np.uint16)), "PNG"), "values 300 to 300"),
        (b"\x89PNG", "cannot be read"),
        (encoded(Image.new("L", (12, 16)), "PNG"), "12 x 16 pixels, but its image"),
        (png_that_claims(60000, 60000), "cut it into tiles"),
    ],
)
def test_an_unusable_mask_is_one_line(tmp_path, content, why):
    dataset = masked_dataset(tmp_path, [(0, 1)], classes=2)
    dataset.train[0].mask.write_bytes(content)
    with fails(why) as fault:
        read_mask(dataset.train[0], dataset)
    assert str(dataset.train[0].mask) in str(fault.value)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("kind", ["1", "P", "I;16"])
def test_a_mask_of_an_unusual_kind_keeps_its_values(tmp_path, kind):
    dataset = masked_dataset(tmp_path, [(0, 1)], classes=2)
    values = np.zeros((12, 16), np.uint8)
    values[:, 3] = 1
    mask = Image.fromarray(
        values.astype(bool) if kind == "1" else values.astype(np.uint16 if "I" in kind else np.uint8)
    )
    if kind == "P":
        mask.putpalette([200] * 768)
    mask.save(dataset.train[0].mask)
    assert read_mask(dataset.train[0], dataset).numpy().tolist() == values.tolist()


@given(data=st.data(), name=st.sampled_from(sorted(WORKS)))
def test_a_damaged_file_is_read_or_is_one_line(tmp_path, data, name):
    content = bytearray(WORKS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.png"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for read in (lambda: read_image(Item("a", path)), lambda: read_mask(Item("a", path, path), TWO_CLASSES)):
        try:
            said = f"{path}: {read().numel()} values"
        except DataError as error:
            said = str(error)
        assert said.startswith(str(path))
        assert "\n" not in said


@pytest.mark.parametrize("name", ["with space", "ünïcödé 图", "dots..in..it", "it's; $HOME & <b>", "-rf", "a" * 100])
def test_names_of_all_kinds_work(tmp_path, name):
    folder_tree(tmp_path)
    write_image(tmp_path / "images/train" / f"{name}.png")
    write_mask(tmp_path / "masks/train" / f"{name}.png")
    dataset = open_dataset(Data(name="folder", root=str(tmp_path)))
    item = next(item for item in dataset.train if item.id == name)
    assert read_image(item).shape[1:] == read_mask(item, dataset).shape


def test_links_to_files_and_folders_elsewhere_are_followed_and_a_circle_ends(tmp_path):
    root, elsewhere = tmp_path / "set", tmp_path / "disk"
    folder_tree(root)
    for part in ("images", "masks"):
        (elsewhere / part).mkdir(parents=True)
        write = write_image if part == "images" else write_mask
        write(elsewhere / part / "far.png")
        os.symlink(elsewhere / part, root / part / "train" / "linked")
        os.symlink(root / part, elsewhere / part / "circle")
    os.symlink(elsewhere / "gone.png", root / "images/train/broken.png")
    dataset = open_dataset(Data(name="folder", root=str(root)))
    far = next(item for item in dataset.train if item.id == "linked/far")
    assert far.mask is not None
    with fails(r"broken\.png: cannot be read as an image \(no such file\)"):
        survey(dataset)


def test_everything_wrong_is_listed_at_once_in_as_many_lines(tmp_path, capsys):
    root = folder_tree(tmp_path / "set")
    (root / "dataset.yaml").write_text("classes: [a, b]")
    (root / "images/train/00.png").write_bytes(b"no image")
    write_mask(root / "masks/train/01.png", (0, 7))
    write_mask(root / "masks/val/00.png", size=(3, 3))
    params = tmp_path / "x.yaml"
    params.write_text(f"data: {{name: folder, root: '{root}', labels: 2}}")
    assert cli.main(["check", str(params)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "train/00.png: cannot be read" in lines[0]
    assert "val/00.png: 3 x 3 pixels" in lines[1]
    assert "train/01.png: value 7 is no class" in lines[2]


KINDS = ["png", "bmp", "tif", "gif", "jpg", "npy"]  # a person sees that the last two are no masks


@given(data=st.data())
def test_of_any_tree_every_mask_counts_or_is_named(tmp_path, data):
    """Masks of all kinds, names and places, by index or colour: those that `check` counts and those that it names are
    all that a person would count."""
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    folder_tree(root, train=1, val=1)
    in_color = data.draw(st.booleans(), "in colour")
    yaml = "classes: [{name: a, color: [9, 0, 0]}, {name: b, color: [0, 9, 0]}]"
    (root / "dataset.yaml").write_text(yaml + data.draw(st.sampled_from(["", "\nmask_suffix: _mask"])))
    colors = np.array([[9, 0, 0], [0, 9, 0]], np.uint8)
    written = []
    for index, values in [(0, None), *enumerate(data.draw(st.lists(st.sampled_from([0, 1]), max_size=4)), 1)]:
        write_image(root / "images/train" / f"{index:02}.png")
        pixels = np.tile(np.array([0, 1 if values is None else values], np.uint8), (12, 8))
        name = data.draw(st.sampled_from(["{}", "{}_mask", "{}.png", "sub/{}", "../{}"])).format(f"{index:02}")
        path = root / "masks/train" / f"{name}.{data.draw(st.sampled_from(KINDS))}"
        path.parent.mkdir(exist_ok=True)
        if index == 0:
            (root / "masks/train/00.png").unlink()
        if path.suffix == ".npy":
            path.write_bytes(b"")
        else:
            Image.fromarray(colors[pixels] if in_color else pixels).save(path)
        written.append(path.resolve())
    for path in (root / "masks/val").iterdir():
        Image.fromarray(colors[np.tile([0, 1], (12, 8))] if in_color else np.tile(np.uint8([0, 1]), (12, 8))).save(path)
        path.rename(path.with_name("00_mask.png"))
    said, found = [], None
    try:
        found = survey(open_dataset(Data(name="folder", root=str(root))))
    except DataError as error:
        said = str(error).splitlines()
    assert all(str(root) in line for line in said)
    if found:
        used = [item.mask.resolve() for item in found.dataset.train if item.mask]
        unused = [file.resolve() for file in found.dataset.unused]
        assert sorted(used + unused) == sorted(written)
        assert {path.suffix for path in used} <= {".png", ".bmp", ".tif", ".gif"}
        assert len(found.masks) == len(used) + 1


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.full((12, 16), 0.93, np.float32), "holds fractions or NaN"),
        (np.where(np.arange(16) < 8, np.nan, 1).astype(np.float32)[None].repeat(12, 0), "holds fractions or NaN"),
        ("RGBA", "only its alpha channel says anything"),
        ("LA", "only its alpha channel says anything"),
        ("CMYK", r"only its black \(K\) channel says anything"),
    ],
)
def test_a_mask_whose_classes_would_all_be_read_as_0_is_refused(tmp_path, mask, words):
    if isinstance(mask, str):
        picture = np.zeros((12, 16, len(mask)), np.uint8)
        picture[:, 8:, -1] = 1
        file = Image.frombytes(mask, (16, 12), picture.tobytes())
    else:
        file = Image.fromarray(mask)
    file.save(tmp_path / "mask.tif")
    with fails(words):
        read_mask(Item("a", write_image(tmp_path / "a.png"), tmp_path / "mask.tif"), TWO_CLASSES)


def test_a_mask_of_whole_floating_point_numbers_and_one_with_a_plain_alpha_channel_are_read(tmp_path):
    image = write_image(tmp_path / "a.png")
    whole = np.tile(np.arange(16) // 8, (12, 1))
    Image.fromarray(whole.astype(np.float32)).save(tmp_path / "float.tif")
    opaque = np.stack([whole, np.full_like(whole, 255)], -1).astype(np.uint8)
    Image.frombytes("LA", (16, 12), opaque.tobytes()).save(tmp_path / "la.png")
    for name in ("float.tif", "la.png"):
        assert (read_mask(Item("a", image, tmp_path / name), TWO_CLASSES).numpy() == whole).all()
