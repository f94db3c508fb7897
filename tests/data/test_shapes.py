import numpy as np
import pytest

from eln_kit.data import open_dataset, read_image, read_mask, scenes, shapes
from eln_kit.data.scenes import CLASSES, draw_scene
from eln_kit.faults import DataError
from eln_kit.params import Data


def small(root, **knobs) -> Data:
    return Data(root=str(root), **{"shapes_train": 3, "shapes_val": 2, "shapes_size": 32, **knobs})


def test_a_scene_is_the_same_every_time_and_another_for_another_seed_split_or_index():
    image, mask = draw_scene(0, "train", 5, 64)
    again, mask_again = draw_scene(0, "train", 5, 64)
    assert (image == again).all()
    assert (mask == mask_again).all()
    for other in ((1, "train", 5), (0, "val", 5), (0, "train", 6)):
        assert (draw_scene(*other, 64)[0] != image).mean() > 0.5


@pytest.mark.parametrize("side", [32, 64, 100])
def test_a_scene_has_the_side_asked_for_and_valid_labels(side):
    image, mask = draw_scene(0, "val", 0, side)
    assert image.shape == (side, side, 3)
    assert mask.shape == (side, side)
    assert image.dtype == mask.dtype == np.uint8
    assert mask.max() < len(CLASSES)


def test_twenty_four_scenes_hold_every_class_and_background_is_more_than_half():
    masks = np.stack([draw_scene(0, "train", index, 64)[1] for index in range(24)])
    share = np.bincount(masks.ravel(), minlength=len(CLASSES)) / masks.size
    assert 0.5 < share[0] < 0.85
    assert (share[1:] > 0.01).all()


def test_the_label_follows_the_object_to_the_pixel(monkeypatch):
    """Of a lone disc, those pixels are labelled whose centres are inside."""
    monkeypatch.setattr(scenes, "_places", lambda rng, count: [(32, 32, 12)])
    masks = [draw_scene(0, "train", index, 64)[1] for index in range(40)]
    discs = [mask for mask in masks if mask.max() == CLASSES.index("disc")]
    centre = np.arange(64) + 0.5 - 32
    inside = centre[:, None] ** 2 + centre**2 < (0.95 * 12) ** 2
    assert len(discs) > 0
    assert all((mask.astype(bool) == inside).all() for mask in discs)


def test_scenes_are_written_once_and_read_back_exactly(tmp_path, monkeypatch):
    dataset = open_dataset(small(tmp_path))
    assert dataset.name == "shapes"
    assert dataset.classes == CLASSES
    assert len(np.unique(dataset.colors, axis=0)) == len(CLASSES)
    image, mask = draw_scene(0, "train", 1, 32)
    assert (read_image(dataset.train[1]).permute(1, 2, 0).numpy() == image).all()
    assert (read_mask(dataset.train[1], dataset).numpy() == mask).all()
    monkeypatch.setattr(shapes, "draw_scene", None)
    assert [item.id for item in open_dataset(small(tmp_path)).val] == ["0000", "0001"]


def test_without_a_root_scenes_go_to_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    assert open_dataset(small("")).train[0].image.is_relative_to(tmp_path / "eln_kit")


def test_a_stopped_write_leaves_nothing_and_the_next_one_succeeds(tmp_path, monkeypatch):
    def stop(seed, split, index, side):
        if split == "val":
            raise KeyboardInterrupt
        return draw_scene(seed, split, index, side)

    monkeypatch.setattr(shapes, "draw_scene", stop)
    with pytest.raises(KeyboardInterrupt):
        open_dataset(small(tmp_path))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert len(open_dataset(small(tmp_path)).train) == 3


def test_a_process_that_comes_second_uses_the_first_ones_scenes(tmp_path, monkeypatch):
    first = open_dataset(small(tmp_path)).train[0].image.parents[2]

    def overtaken(seed, split, index, side):
        if not first.is_dir():
            (tmp_path / "first").rename(first)
        return draw_scene(seed, split, index, side)

    first.rename(tmp_path / "first")
    monkeypatch.setattr(shapes, "draw_scene", overtaken)
    assert len(open_dataset(small(tmp_path)).train) == 3
    assert list(tmp_path.iterdir()) == [first]


def test_a_scene_that_is_gone_is_an_error_that_says_to_delete_the_folder(tmp_path):
    item = open_dataset(small(tmp_path)).train[-1]
    item.image.unlink()
    item.mask.unlink()
    with pytest.raises(DataError, match="delete the folder"):
        open_dataset(small(tmp_path))


def test_a_folder_that_cannot_be_written_is_an_error_that_names_the_knob(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"data\.root"):
        open_dataset(small(tmp_path / "file"))
