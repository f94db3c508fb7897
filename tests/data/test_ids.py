import pytest
from trees import fails

from eln_kit.data import Item
from eln_kit.data.ids import find_listed

NAMES = ["image", "image (1)", "a#b", "a #b", "#first", "shot # 2", "x,y", "sub/im 2", "v1.0"]
ITEMS = [Item(name, None) for name in NAMES]


def found(tmp_path, text, encoding="utf-8"):
    (tmp_path / "list.txt").write_bytes(text.encode(encoding))
    return [item.id for item in find_listed(tmp_path / "list.txt", ITEMS)]


@pytest.mark.parametrize("name", NAMES)
def test_a_line_that_is_an_id_is_that_image_whatever_signs_it_has(tmp_path, name):
    assert found(tmp_path, f"  {name}\n\n") == [name]


@pytest.mark.parametrize(
    ("line", "id"),
    [
        ("image (1).png", "image (1)"),
        ("images\\train\\image (1).JPG", "image (1)"),
        ("sub\\im 2", "sub/im 2"),
        ("im 2", "sub/im 2"),
        ("image (1).png,image (1)_mask.png", "image (1)"),
        ("image.png;masks/image.png", "image"),
        ("image.jpg image.png", "image"),
        ("/JPEGImages/image.jpg /Masks/image.png", "image"),
        ("image # the first", "image"),
        ("#first.png", "#first"),
        ("v1.0", "v1.0"),
    ],
)
def test_files_backslashes_pairs_and_comments_are_understood(tmp_path, line, id):
    assert found(tmp_path, line) == [id]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_as_windows_writes_it_is_read(tmp_path, encoding):
    assert found(tmp_path, "image\r\nimage (1)\r\n", encoding) == ["image", "image (1)"]


@pytest.mark.parametrize("line", ["image (2)", "image (2).png", "image#2", "image #2", "a,b", "/", ".", "image x.png"])
def test_a_line_that_is_no_image_is_never_taken_for_another_one(tmp_path, line):
    with fails(r"list\.txt: .* is no training image"):
        found(tmp_path, line)


def test_comments_alone_name_nothing(tmp_path):
    with fails("names no image"):
        found(tmp_path, "# image\n  # more\n#\n")
