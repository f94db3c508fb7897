from itertools import pairwise

import numpy as np
import pytest
from trees import cityscapes_tree, fails, ids, masked_dataset, voc_tree, write_image, write_mask

from eln_kit.data import load_split, make_split, open_dataset, read_mask, save_split
from eln_kit.params import Data

MANY = [(0,)] * 36 + [(0, 1)] * 2 + [(0, 2), (0, 3), (0, 4, 5)]


def test_a_split_is_disjoint_complete_and_repeatable(tmp_path):
    dataset = masked_dataset(tmp_path, MANY, unlabeled=3)
    split = make_split(dataset, Data(labels=8))
    assert len(split.labeled) == 8
    assert not set(split.labeled) & set(split.unlabeled)
    assert set(split.labeled) | set(split.unlabeled) == set(dataset.train)
    assert split == make_split(dataset, Data(labels=8))
    assert split != make_split(dataset, Data(labels=8, seed=1))


@pytest.mark.parametrize("seed", range(8))
def test_a_draw_covers_every_class_when_the_count_allows(tmp_path, seed):
    dataset = masked_dataset(tmp_path, MANY)
    split = make_split(dataset, Data(labels=4, seed=seed))
    seen = np.unique(np.concatenate([read_mask(item, dataset).numpy().ravel() for item in split.labeled]))
    assert seen.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_random_draw_reads_no_mask(tmp_path, monkeypatch):
    dataset = masked_dataset(tmp_path, [(0, 1)] * 6)
    monkeypatch.setattr("eln_kit.data.items.read_mask", lambda *_: pytest.fail("a mask was read"))
    split = make_split(dataset, Data(labels=2, draw="random"))
    assert (len(split.labeled), split.source) == (2, "drawn with seed 0")


def test_a_larger_draw_has_the_images_of_a_smaller_one(tmp_path):
    dataset = masked_dataset(tmp_path, MANY)
    draws = [set(ids(make_split(dataset, Data(labels=count)).labeled)) for count in (2, 4, 9, 20)]
    assert all(few < more for few, more in pairwise(draws))


@pytest.mark.parametrize(
    ("labels", "count"), [(1, 1), (24, 24), ("1/8", 5), (0.25, 10), ("0.001", 1), (1.0, 41), ("1/1", 41)]
)
def test_labels_are_a_count_or_a_fraction_of_the_images_with_masks(tmp_path, labels, count):
    dataset = masked_dataset(tmp_path, MANY, unlabeled=5)
    split = make_split(dataset, Data(labels=labels))
    assert len(split.labeled) == count
    assert len(split.unlabeled) == 41 + 5 - count


def test_unlabelled_items_keep_the_masks_they_have(tmp_path):
    split = make_split(masked_dataset(tmp_path, MANY, unlabeled=3), Data(labels=8))
    assert sum(item.mask is None for item in split.unlabeled) == 3


def test_more_labels_than_masks_is_an_error_that_says_how_many_there_are(tmp_path):
    with fails("only 2 images"):
        make_split(masked_dataset(tmp_path, [(0,), (1,)], unlabeled=9), Data(labels=3))


def test_lists_override_the_count_and_the_rest_is_unlabelled(tmp_path):
    dataset = masked_dataset(tmp_path, MANY)
    (tmp_path / "labeled.txt").write_text("# the first\n\n007\n003 # a comment\n003\n")
    split = make_split(dataset, Data(labeled_ids=str(tmp_path / "labeled.txt")))
    assert ids(split.labeled) == ["007", "003"]
    assert len(split.unlabeled) == 39


def test_an_unlabelled_list_bounds_the_unlabelled_and_keeps_them_from_the_draw(tmp_path):
    dataset = masked_dataset(tmp_path, [(0, 1)] * 6)
    (tmp_path / "unlabeled.txt").write_text("001\n004\n")
    split = make_split(dataset, Data(labels=4, unlabeled_ids=str(tmp_path / "unlabeled.txt")))
    assert ids(split.labeled) == ["000", "002", "003", "005"]
    assert ids(split.unlabeled) == ["001", "004"]


@pytest.mark.parametrize(
    ("labeled", "unlabeled", "message"),
    [
        ("000\n001\n", "001\n", "001 is in .*unlabeled.txt too"),
        ("000\nnone\n", "001\n", r"/labeled\.txt: none is no training image"),
        ("# nothing\n\n", "001\n", r"/labeled\.txt: names no image"),
        ("u00\n", "001\n", r"u00 has no mask"),
        ("000\n", "\n", r"unlabeled\.txt: names no image"),
        (None, "001\n", r"/labeled\.txt: no such list"),
    ],
)
def test_a_bad_list_is_an_error_that_names_it(tmp_path, labeled, unlabeled, message):
    dataset = masked_dataset(tmp_path, [(0, 1)] * 4, unlabeled=1)
    lists = {"labeled_ids": tmp_path / "labeled.txt", "unlabeled_ids": tmp_path / "unlabeled.txt"}
    if labeled is not None:
        lists["labeled_ids"].write_text(labeled)
    lists["unlabeled_ids"].write_text(unlabeled)
    with fails(message):
        make_split(dataset, Data(**{knob: str(path) for knob, path in lists.items()}))


def test_a_list_may_lie_in_the_data_set_and_name_files(tmp_path):
    voc = voc_tree(tmp_path, ["2007_000032", "2007_000039", "2007_000063"], ["2007_000033"])
    file = "ImageSets/Segmentation/20_labeled_0.txt"
    (voc / file).write_text("/JPEGImages/2007_000039.jpg /SegmentationClass/2007_000039.png\n")
    data = Data(name="voc", root=str(tmp_path), labeled_ids=file)
    split = make_split(open_dataset(data), data)
    assert ids(split.labeled) == ["2007_000039"]
    assert ids(split.unlabeled) == ["2007_000032", "2007_000063"]


@pytest.fixture
def named(tmp_path):
    """The labelled ids of a list of one name; training images are a/1, b/2 and b/3, and one validates as 1."""

    def make(name, train=("a/1", "b/2", "b/3")):
        for place in (*(f"train/{id}" for id in train), "val/1"):
            write_image(tmp_path / f"images/{place}.png")
            write_mask(tmp_path / f"masks/{place}.png")
        (tmp_path / "list.txt").write_text(name)
        data = Data(name="folder", root=str(tmp_path), labeled_ids="list.txt")
        return ids(make_split(open_dataset(data), data).labeled)

    return make


@pytest.mark.parametrize("name", ["a/1", "1.png", "images/train/a/1.png", "train/a/1"])
def test_names_in_lists_are_stripped_to_ids(named, name):
    assert named(name) == ["a/1"]


def test_a_name_that_fits_two_images_is_an_error(named):
    with fails(r"1\.png fits a/1 and b/1"):
        named("1.png", ("a/1", "b/1"))


def test_a_saved_split_comes_back_the_same(tmp_path):
    dataset = masked_dataset(tmp_path, MANY, unlabeled=3)
    split = make_split(dataset, Data(labels=8))
    (tmp_path / "run").mkdir()
    save_split(split, tmp_path / "run" / "split.json")
    assert load_split(dataset, tmp_path / "run" / "split.json") == split
    assert len(list((tmp_path / "run").iterdir())) == 1


def test_loading_a_split_of_another_data_set_names_the_id(tmp_path):
    save_split(make_split(masked_dataset(tmp_path, MANY), Data(labels="1/1")), tmp_path / "split.json")
    with fails(r"split\.json: the data set lacks '002'"):
        load_split(masked_dataset(tmp_path, MANY[:2]), tmp_path / "split.json")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"labeled": 3, "unlabeled": []}'])
def test_a_broken_split_file_is_an_error_that_names_it(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with fails(r"split\.json"):
        load_split(masked_dataset(tmp_path, MANY), tmp_path / "split.json")


VOC_IDS = ["2007_000032", "2007_000039", "2007_000063", "2007_000068"]


def official_voc(root, lists, **knobs):
    """A VOC tree of four training images with official lists; the data set and its knobs."""
    folder = voc_tree(root, VOC_IDS, ["2007_000033"]) / "ImageSets/Segmentation"
    for name, listed in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(listed))
    data = Data(name="voc", root=str(root), **{"labels": "1/2", "split_id": 0} | knobs)
    return open_dataset(data), data


PAIR = {"2_labeled_0": [VOC_IDS[3], VOC_IDS[1]], "2_unlabeled_0": [VOC_IDS[0]]}


@pytest.mark.parametrize("labels", ["1/2", 0.5, "2/4"])
def test_a_split_id_takes_both_official_lists_as_they_are(tmp_path, labels):
    split = make_split(*official_voc(tmp_path, PAIR, labels=labels))
    assert ids(split.labeled) == [VOC_IDS[3], VOC_IDS[1]]
    assert ids(split.unlabeled) == [VOC_IDS[0]]
    assert split.source == "official lists 2_labeled_0.txt, 2_unlabeled_0.txt"


def test_cityscapes_official_lists_lie_in_data_lists(tmp_path):
    cityscapes_tree(tmp_path, {"train": ["aachen_000000_000019", "bochum_000000_000313"], "val": ["ulm_0_1"]})
    (tmp_path / "data_lists").mkdir()
    (tmp_path / "data_lists/2_labeled_1.txt").write_text("bochum/bochum_000000_000313\n")
    (tmp_path / "data_lists/2_unlabeled_1.txt").write_text("aachen/aachen_000000_000019\n")
    data = Data(name="cityscapes", root=str(tmp_path), labels="1/2", split_id=1)
    assert ids(make_split(open_dataset(data), data).labeled) == ["bochum/bochum_000000_000313"]


@pytest.mark.parametrize("knobs", [{"split_id": 3}, {"labels": "1/4"}, {"labels": 2}, {"labels": 0.7}])
def test_without_official_lists_for_it_a_split_id_is_the_seed(tmp_path, knobs):
    dataset, data = official_voc(tmp_path, PAIR, **knobs)
    split = make_split(dataset, data)
    assert split.source == f"drawn with seed {data.split_id} (all masks read)"
    assert split == make_split(dataset, data.model_copy(update={"split_id": None, "seed": data.split_id}))


def test_official_lists_are_not_looked_at_without_a_split_id(tmp_path):
    assert make_split(*official_voc(tmp_path, PAIR, split_id=None)).source == "drawn with seed 0 (all masks read)"


@pytest.mark.parametrize(("there", "absent"), [("labeled", "unlabeled"), ("unlabeled", "labeled")])
def test_one_official_list_without_the_other_is_an_error_that_names_it(tmp_path, there, absent):
    dataset, data = official_voc(tmp_path, {f"2_{there}_0": VOC_IDS[:2]})
    with fails(rf"2_{absent}_0\.txt: no such list, but 2_{there}_0\.txt is there; add"):
        make_split(dataset, data)


def test_lists_given_by_hand_win_over_official_ones(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text(VOC_IDS[2])
    split = make_split(*official_voc(tmp_path / "voc", PAIR, labeled_ids=str(file)))
    assert ids(split.labeled) == [VOC_IDS[2]]
    assert split.source == f"data.labeled_ids={file}"
    split = make_split(*official_voc(tmp_path / "again", PAIR, unlabeled_ids=str(file), split_id=5))
    assert ids(split.unlabeled) == [VOC_IDS[2]]
    assert split.source == f"drawn with seed 5 (all masks read), data.unlabeled_ids={file}"


def test_where_a_split_is_from_is_kept_but_does_not_make_it_another(tmp_path):
    dataset = masked_dataset(tmp_path, MANY)
    split = make_split(dataset, Data(labels="1/1"))
    assert split == make_split(dataset, Data(labels="1/1", seed=1))
    save_split(split, tmp_path / "split.json")
    assert load_split(dataset, tmp_path / "split.json").source == "drawn with seed 0"
