import pytest
import torch
from accelerate import Accelerator

from eln_kit.data.loaders import FAULT, Draws, TrainingImages, training_batches
from eln_kit.data.views import resize, strong_views, weak_views
from eln_kit.faults import DataError
from eln_kit.method.stages import Supervised
from eln_kit.params import Views
from eln_kit.store.experiment import open_experiment
from eln_kit.training import feed
from eln_kit.training.feed import Faults

VOID = 255
PLAIN = Views(crop=[16, 16], scale=[1, 1], flip=0, jitter=[0, 0, 0, 0], grey=0)


def image_and_mask(height=16, width=16):
    """A mask whose value is the column, and an image that shows the same number as its red."""
    mask = torch.arange(width, dtype=torch.uint8).expand(height, width).clone()
    return torch.stack([mask, mask * 0, mask * 0]), mask


def test_without_randomness_a_view_is_the_image_in_0_to_1():
    image, mask = image_and_mask()
    view, labels, valid = weak_views(image, mask, PLAIN)
    assert torch.equal(view, image.float() / 255)
    assert labels.dtype == torch.long
    assert torch.equal(labels, mask.long())
    assert valid.all()


def test_image_and_mask_are_moved_together():
    image, mask = image_and_mask(40, 40)
    for seed in range(5):
        torch.manual_seed(seed)
        view, labels, _ = weak_views(image, mask, PLAIN.model_copy(update={"flip": 0.5}))
        assert torch.equal((view[0] * 255).round().long(), labels)


def test_what_a_crop_lacks_is_void_and_not_valid():
    image, mask = image_and_mask(8, 8)
    _, labels, valid = weak_views(image, mask, PLAIN)
    assert valid.sum() == 8 * 8
    assert torch.equal(labels == VOID, ~valid)


def test_the_strong_view_recolours_the_weak_one_and_moves_nothing():
    weak, seeds = torch.rand(2, 3, 16, 16), torch.tensor([0, 1])
    grey = strong_views(weak, seeds, PLAIN.model_copy(update={"grey": 1.0}))
    weights = torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)
    assert torch.allclose(grey, (weak * weights).sum(1, keepdim=True).expand_as(weak), atol=1e-3)
    assert torch.equal(strong_views(weak, seeds, PLAIN), weak)


def test_a_strong_view_depends_on_its_image_and_seed_alone_and_draws_from_nobody_else():
    weak, views = torch.rand(3, 3, 16, 16), Views(crop=[16, 16], blur=0.5)
    before = torch.get_rng_state()
    together = strong_views(weak, torch.tensor([5, 6, 5]), views)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(together[1:2], strong_views(weak[1:2], torch.tensor([6]), views))
    assert not torch.equal(together[:1], strong_views(weak[:1], torch.tensor([6]), views))


def test_nobody_knows_the_truth_of_an_image_without_a_mask():
    image, _ = image_and_mask()
    assert (weak_views(image, None, PLAIN)[1] == VOID).all()


def test_resizing_keeps_class_indices():
    image, mask = resize(*image_and_mask(16, 16), 0.5)
    assert image.shape == (3, 8, 8)
    assert mask.shape == (8, 8)
    assert set(mask.unique().tolist()) <= set(range(16))


def test_every_image_comes_once_before_any_comes_again():
    draws = [index for batch in Draws(images=10, batch=4, seed=0, steps=range(5)) for index, _ in batch]
    assert sorted(draws[:10]) == sorted(draws[10:]) == list(range(10))
    assert draws[:10] != draws[10:]


def test_a_batch_larger_than_the_data_set_still_fills():
    assert [len(batch) for batch in Draws(images=3, batch=8, seed=0, steps=range(2))] == [8, 8]


def test_two_processes_share_out_what_one_would_draw():
    one = [draw for batch in Draws(10, 4, 0, range(3)) for draw in batch]
    two = [list(Draws(10, 4, 0, range(3), process, 2)) for process in (0, 1)]
    assert [draw for a, b in zip(*two, strict=True) for draw in a + b] == one


def test_however_many_processes_there_are_no_image_comes_twice_in_an_epoch_even_if_their_number_changes():
    first = [list(Draws(12, 4, 0, range(2), process, 2)) for process in (0, 1)]
    then = [list(Draws(12, 4, 0, range(2, 3), process, 4)) for process in range(4)]
    seen = [index for parts in (first, then) for batches in parts for batch in batches for index, _ in batch]
    assert sorted(seen) == list(range(12))


def test_squeezing_shows_the_whole_image_at_the_crops_size():
    image, mask = image_and_mask(8, 32)
    view, labels, _ = weak_views(image, mask, PLAIN.model_copy(update={"squeeze": True}))
    assert view.shape == (3, 16, 16)
    assert labels.unique().tolist() in (list(range(0, 32, 2)), list(range(1, 32, 2)))


def test_a_loader_started_late_gives_what_an_early_one_gives_there(tiny):
    params = tiny()
    experiment = open_experiment(params)

    def batches(steps):
        return list(training_batches(experiment.split.unlabeled, experiment.dataset, params, False, steps))

    for early, late in zip(batches(range(6))[4:], batches(range(4, 6)), strict=True):
        assert same(early, late)


def test_labelled_images_are_recoloured_where_params_say_so_and_their_masks_stay(tiny):
    found = {}
    for view in ("weak", "strong"):
        params = tiny({"views.labeled": view})
        experiment = open_experiment(params)
        stage = Supervised(experiment.networks(), params)
        found[view] = next(iter(feed.batches(stage, experiment, Accelerator(cpu=True), 0)))
    weak, strong = found["weak"], found["strong"]
    assert torch.equal(weak["mask"], strong["mask"])
    assert not torch.allclose(weak["image"], strong["image"], atol=0.05)


def test_loading_leaves_the_random_state_alone(tiny):
    params = tiny()
    experiment = open_experiment(params)
    images = TrainingImages(experiment.split.labeled, experiment.dataset, params, labeled=True)
    before = torch.get_rng_state()
    assert not torch.equal(images[0, 1]["image"], images[0, 2]["image"])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("labeled", [True, False])
def test_an_image_kept_in_memory_gives_the_same_views_without_its_file(tiny, tmp_path, labeled):
    params = tiny({"data.root": str(tmp_path / "scenes")})
    experiment = open_experiment(params)
    items = experiment.split.labeled
    kept = TrainingImages(items, experiment.dataset, params, labeled, room=2**20)
    bare = TrainingImages(items, experiment.dataset, params, labeled)
    first = [kept[0, seed] for seed in (1, 2)]
    assert same(first[1], bare[0, 2])
    items[0].image.unlink()
    assert same(first[1], kept[0, 2])
    assert "no such file" in bare[0, 2][FAULT]


def test_no_more_is_kept_in_memory_than_there_is_room_for(tiny):
    params = tiny()
    experiment = open_experiment(params)
    one = 4 * 32 * 32  # bytes of an image and its mask
    images = TrainingImages(experiment.split.labeled, experiment.dataset, params, True, room=2 * one)
    for index in range(4):
        images[index, 0]
    assert len(images.kept) == 2


def same(one: dict, other: dict) -> bool:
    """Whether two samples or batches are equal."""
    return one[FAULT] == other[FAULT] and all(torch.equal(one[name], other[name]) for name in one.keys() - {FAULT})


@pytest.fixture
def images(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("eln_kit.data.loaders.RETRY", 0)
    params = tiny({"data.root": str(tmp_path / "scenes")})
    experiment = open_experiment(params)
    return TrainingImages(experiment.split.labeled, experiment.dataset, params, labeled=True)


def test_an_image_that_went_bad_gives_way_to_the_next_one_and_tells_why(images):
    images.items[3].image.write_bytes(b"no image")
    instead = images[3, 7]
    assert instead.pop(FAULT).startswith(f"{images.items[3].image}: cannot be read")
    assert same(instead | {FAULT: ""}, images[0, 7])  # the last one's next is the first


def test_a_file_that_is_away_for_a_moment_is_read_at_the_second_try(images, monkeypatch):
    tries, decode = [], images._decode

    def away_once(item):
        tries.append(item)
        if len(tries) == 1:
            raise DataError("away")
        return decode(item)

    monkeypatch.setattr(images, "_decode", away_once)
    assert images[2, 7][FAULT] == ""
    assert tries == [images.items[2]] * 2


def test_where_no_image_is_left_it_is_an_error(images):
    for item in images.items:
        item.image.unlink()
    with pytest.raises(DataError, match="no such file"):
        images[0, 7]


def test_each_bad_image_is_told_once_and_more_than_a_hundredth_are_too_many(capsys):
    faults = Faults(200)
    for noted in (["", "a.png: x"], ["a.png: x", "b.png: y"]):
        faults.note(noted)
    assert capsys.readouterr().err.splitlines() == [
        "skipped: a.png: x (1 of 200 images went bad, others take their place)",
        "skipped: b.png: y (2 of 200 images went bad, others take their place)",
    ]
    with pytest.raises(DataError, match=r"c\.png: z \(3 of 200 images went bad, more than 1%\)"):
        faults.note(["c.png: z"])
