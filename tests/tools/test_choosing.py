from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from eln_kit import cli
from eln_kit.faults import DataError, ParamsError
from eln_kit.store.params_file import build
from eln_kit.tools import choose, embedding

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images of three kinds, eight of each, without any mask; embeddings are kept below the test's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    weights = timm.create_model("resnet10t").state_dict()  # random ones tell plain colours apart
    torch.save(weights, tmp_path / "weights.pt")
    generator = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for kind, colour in COLOURS.items():
        for number in range(8):
            pixels = np.clip(np.array(colour) + generator.normal(0, 6, (32, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / f"{kind}_{number}.png")
    return tmp_path / "images"


def params(folder, weights="weights.pt"):
    knobs = {"data.name": "folder", "data.root": str(folder), "model.encoder": "resnet10t"}
    return build({}, knobs | {"model.encoder_weights": str(folder.parent / weights)})


def kinds(ids):
    return sorted(id.partition("_")[0] for id in ids)


@pytest.mark.slow
def test_more_images_than_differ_are_one_line_and_another_depth_is_another_embedding(folder):
    for kind in ("red", "green"):
        (folder / f"{kind}_0.png").write_bytes((folder / "blue_0.png").read_bytes())
    with pytest.raises(DataError, match="--count 24: among 24 images there are 22 different ones"):
        choose.choose(params(folder), 24)
    depths = [[replace(item, depth=depth) for item in choose.images_of(params(folder))] for depth in (12, 16)]
    for items in depths:
        embedding.embed(items, params(folder))
    (kept,) = (folder.parent / "cache").rglob("*.npz")
    assert len(np.load(kept)["keys"]) == 48  # all images are of depth 16 in choose


def test_of_one_kind_the_images_that_show_the_most_different_things_are_chosen():
    road, street, signs = [9, 0, 0], [5, 4, 0], [7, 0, 2]
    assert choose.showing_most(np.array([road, street, road]), 1) == [1]
    assert choose.showing_most(np.array([road, road, street, signs, street]), 2).tolist() == [2, 3]


@pytest.mark.slow
def test_where_all_images_are_of_one_kind_regions_decide(folder, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(choose, "kinds_of", lambda _: 1)
    for number in range(8):  # each image is half of one colour and half of another, but one, which has all
        pixels = np.zeros((32, 40, 3), np.uint8)
        pixels[:, :20], pixels[:, 20:] = COLOURS["green"], COLOURS["blue"]
        Image.fromarray(pixels + np.uint8(number)).save(folder / f"green_{number}.png")
    pixels[:16] = COLOURS["red"]
    Image.fromarray(pixels).save(folder / "mixed_0.png")
    for file in (*folder.glob("red*"), *folder.glob("blue*")):
        file.unlink()
    choice = choose.choose(params(folder), 1)
    assert kinds(choice.ids) == ["mixed"]
    assert "these show the most" in " ".join(choose.write(choice, tmp_path / "ids.txt"))


@pytest.mark.slow
def test_of_three_kinds_one_each_is_chosen_whatever_their_order_and_their_number_is_told(
    folder, tmp_path, capsys, monkeypatch
):
    chosen = choose.choose(params(folder), 3)
    assert kinds(chosen.ids) == ["blue", "green", "red"]
    assert (chosen.kinds, chosen.sizes.tolist()) == (3, [8, 8, 8])
    assert [chosen.cluster[place] for place in chosen.farthest] == [0, 1, 2]
    with monkeypatch.context() as patched:
        turned = choose.images_of(params(folder))[::-1]
        patched.setattr(choose, "images_of", lambda _: turned)
        assert choose.choose(params(folder), 3).ids == chosen.ids
    file = tmp_path / "ids.txt"
    knobs = ["model.encoder=resnet10t", f"data.root={folder}", f"model.encoder_weights={tmp_path / 'weights.pt'}"]
    command = ["choose", "photos", "--count", "2", "--out", str(file)]
    assert cli.main([*command, *(f"--set={knob}" for knob in knobs)]) == 0
    assert "2 are fewer than the kinds: label 3" in capsys.readouterr().out
    assert len(file.read_text().split()) == 2
    assert file.with_suffix(".png").is_file()


@pytest.mark.slow
def test_images_are_looked_at_once_and_a_stopped_command_goes_on(folder, monkeypatch):
    looked, read, stop_after = [], embedding.read_image, 5

    def look(item):
        if len(looked) == stop_after:
            raise KeyboardInterrupt
        looked.append(item.id)
        return read(item)

    monkeypatch.setattr(embedding, "read_image", look)
    monkeypatch.setattr(embedding, "SAVED", 2)
    with pytest.raises(KeyboardInterrupt):
        choose.choose(params(folder), 3)
    stop_after = 99
    choose.choose(params(folder), 3)
    assert len(looked) == 24 + 1  # the fifth had not been written yet
    choose.choose(params(folder), 3)
    assert len(looked) == 24 + 1


@pytest.mark.slow
def test_a_broken_image_is_a_line_and_more_images_than_there_are_cannot_be_chosen(folder, capsys):
    (folder / "red_0.png").write_bytes(b"no image")
    assert len(choose.choose(params(folder), 3).items) == 23
    assert "left out" in capsys.readouterr().out
    embedding._cache(params(folder)).write_bytes(b"PK no archive")
    assert len(choose.choose(params(folder), 3).items) == 23
    with pytest.raises(DataError, match="--count 24: there are 23 images to choose from"):
        choose.choose(params(folder), 24)


@pytest.mark.slow
def test_an_untrained_encoder_a_list_called_png_and_images_that_cannot_be_read_are_refused(folder, tmp_path):
    untrained = build(params(folder).model_dump(), {"model.encoder_weights": "none"})
    with pytest.raises(ParamsError, match="an untrained encoder tells no kinds apart"):
        choose.choose(untrained, 3)
    with pytest.raises(ParamsError, match=r"ids\.png: is to be a list"):
        list(choose.write(choose.choose(params(folder), 3), tmp_path / "ids.png"))
    for file in folder.iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the images can be read"):
        choose.choose(params(folder), 1)
