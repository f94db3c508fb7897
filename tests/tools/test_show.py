"""Pictures of any image by a run."""

import json

import numpy as np
import pytest
import torch
from finished import train
from PIL import Image
from trees import write_image, write_mask

from eln_kit import cli
from eln_kit.faults import DataError
from eln_kit.store import checkpoint
from eln_kit.tools import show

pytestmark = pytest.mark.slow


def test_show_writes_pictures_of_any_image_with_and_without_a_mask(run, tmp_path, capsys):
    image = write_image(tmp_path / "my image.jpg", (40, 56))
    mask = write_mask(tmp_path / "truth.png", (0, 3, 255), (40, 56))
    assert cli.main(["show", str(run.folder), "--image", str(image), "--mask", str(mask), "--out", str(tmp_path)]) == 0
    folder = tmp_path / "my image"
    assert str(folder / "sheet.png") in capsys.readouterr().out
    pictures = {file.name: Image.open(file) for file in folder.iterdir()}
    assert set(pictures) == {
        *("input.png", "truth.png", "prediction.png", "eln_map.png", "eln_mask.png", "filtered.png", "sheet.png")
    }
    assert all(picture.size == (56, 40) for name, picture in pictures.items() if name != "sheet.png")
    prediction, filtered = (np.array(pictures[f"{name}.png"]) for name in ("prediction", "filtered"))
    keep = np.array(pictures["eln_mask.png"]).astype(bool)
    assert (filtered[keep] == prediction[keep]).all()
    assert (filtered[~keep] == 255).all()
    some_masks = tmp_path / "masks"
    with pytest.raises(DataError, match="one mask cannot be that of every image"):
        list(show.show(run.folder, tmp_path, mask, some_masks))
    colors = np.array(pictures["truth.png"].convert("RGB"))
    assert (colors[0, 1] == run.dataset.colors[3]).all()


def test_show_takes_a_folder_of_images_and_the_masks_that_are_there_by_name_or_in_the_same_sub_folder(run, tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    for name in ("a.png", "b.jpg", "b.png", "one/c.png", "two/c.png"):
        write_image(images / name, (32, 32))
    for name in ("a.tif", "two/c.png"):
        write_mask(masks / name, (0, 1), (32, 32))
    for _ in range(2):  # where the pictures lie among the images, they are not taken for such
        folders = list(show.show(run.folder, images, masks, images / "out"))
        names = [folder.relative_to(images / "out").as_posix() for folder in folders]
        assert names == ["a", "b.jpg", "b.png", "one/c", "two/c"]
        assert [(folder / "truth.png").exists() for folder in folders] == [True, False, False, False, True]


def test_masks_of_a_data_set_hidden_files_and_what_was_made_before_are_no_images(tmp_path):
    for place in ("images/train/a.png", "images/unlabeled/b.png", "made/c.png", "masks.png"):
        write_image(tmp_path / place, (8, 8))
    for place in ("masks/train/a.png", ".x/d.png", "images/train/._a.png", "@eaDir/a.png", "__MACOSX/a.png"):
        write_image(tmp_path / place, (8, 8))
    found = show.find_images(tmp_path, tmp_path / "other/../made")
    assert [item.id for item in found] == ["images/train/a", "images/unlabeled/b", "masks"]
    assert [item.id for item in show.find_images(tmp_path / "masks")] == ["train/a"], "asked for by name"


def test_no_two_images_of_a_folder_have_one_id(tmp_path):
    for name in ("a.jpg", "a.png", "a.jpg.png", "b.jpg", "c.jpg", "c.jpg.png"):
        write_image(tmp_path / name, (32, 32))
    ids = [item.id for item in show.find_images(tmp_path)]
    assert ids == ["a.jpg", "a.jpg.png", "a.png", "b", "c", "c.jpg"], "as the data set has them"


def test_show_works_where_the_data_set_is_not_at_the_depth_of_the_params(run, tmp_path):
    params = run.params.model_dump() | {"data": run.params.data.model_dump() | {"name": "folder", "root": "gone"}}
    image = write_image(tmp_path / "x.png", (32, 32))
    params["data"] |= {"depth": 12}
    Image.fromarray(np.full((32, 32), 4095, np.uint16)).save(image)
    (run.folder / "params.yaml").write_text(json.dumps(params))
    for stage in ("1_supervised", "2_error_localization"):
        path = run.folder / stage / checkpoint.FILE
        checkpoint.save(path, torch.load(path, weights_only=True) | {"params": params})
    (folder,) = show.show(run.folder, image, None, tmp_path / "out")
    assert np.asarray(Image.open(folder / "input.png")).min() == 255


@pytest.mark.parametrize("image", ["none.png", "text.png", "empty"])
def test_show_refuses_what_is_no_image_in_one_line(run, tmp_path, capsys, image):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    assert cli.main(["show", str(run.folder), "--image", str(tmp_path / image), "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(str(tmp_path / image))
    assert error.count("\n") == 1


def test_show_before_stage_2_names_the_notebook_to_run(tiny, tmp_path, capsys):
    run = train(tiny(), "1_supervised")
    image = write_image(tmp_path / "x.png")
    assert cli.main(["show", str(run.folder), "--image", str(image), "--out", str(tmp_path)]) == 1
    assert "run notebooks/2_error_localization.ipynb first" in capsys.readouterr().err
