"""Pictures of validation images that are taken while a stage trains."""

from io import BytesIO

import numpy as np
import pytest
import torch
from finished import train
from PIL import Image

from eln_kit.store import checkpoint
from eln_kit.training import pictures
from eln_kit.training.pictures import FOLDER, Pictures, together

STAGES = ("1_supervised", "2_error_localization", "3_semi_supervised")


@pytest.mark.slow
def test_training_comes_to_the_same_bit_with_and_without_them(tiny, whole, monkeypatch):
    assert {file.name for file in (whole / "2_error_localization" / FOLDER).iterdir()} == {
        f"{step}.png" for step in range(5)
    }
    monkeypatch.setattr(Pictures, "due", lambda *_: False)
    unseen = train(tiny(), *STAGES)
    for stage in STAGES:
        first, second = (checkpoint.load(folder / stage / checkpoint.FILE) for folder in (whole, unseen.folder))
        for part, weights in first["networks"].items():
            for name, values in weights.items():
                assert torch.equal(values, second["networks"][part][name]), f"{stage}: {part}.{name}"
    assert not (unseen.folder / STAGES[0] / FOLDER).exists()


@pytest.mark.slow
@pytest.mark.parametrize("error", [OSError("full"), torch.OutOfMemoryError("full")])
def test_pictures_that_cannot_be_taken_stop_nothing(tiny, monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(pictures, "together", refuse)
    assert train(tiny(), "1_supervised").records("1_supervised")[-1]["step"] == 4


def test_pictures_lie_in_rows_and_keep_their_colours():
    red, wide = Image.new("RGB", (2, 4), "red"), Image.new("RGB", (8, 4), "blue")
    sheet = together([[red, wide], [red]])
    picture = np.asarray(Image.open(BytesIO(sheet)))
    assert picture.shape == (2 * pictures.SIDE + pictures.GAP, 56 + pictures.GAP + pictures.SIDE, 4)
    assert {tuple(color) for color in picture.reshape(-1, 4)} == {(255, 0, 0, 255), (0, 0, 255, 255), (0, 0, 0, 0)}
