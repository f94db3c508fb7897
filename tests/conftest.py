"""What many tests need. xdist's controller imports this too, so what is heavy is imported in the fixtures."""

import pytest
from hypothesis import HealthCheck, settings

for name, examples in {"day": 20, "nightly": 150}.items():
    unhurried = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
    settings.register_profile(name, max_examples=examples, **unhurried)
settings.load_profile("day")

TINY = {
    "data.shapes_train": 12,
    "data.shapes_val": 3,
    "data.shapes_size": 32,
    "data.labels": 4,
    "data.batch_labeled": 2,
    "data.batch_unlabeled": 2,
    "views.crop": [32, 32],
    "model.encoder": "test_resnet",  # timm's smallest: a tenth of ResNet-10's weights to train, save and load
    "model.eln_encoder": "test_resnet",
    "model.decoder_channels": 8,
    "model.embedding_channels": 4,
    "optimizer.lr": 1e-3,
    "supervised.steps": 4,
    "error_localization.steps": 4,
    "semi_supervised.steps": 4,
    "run.log_every": 2,
    "run.save_every": 2,
    "run.show": 2,
    "run.precision": "fp32",
}


def pytest_collection_modifyitems(items):
    """What is quick comes first."""
    items.sort(key=lambda item: "slow" in item.keywords)


@pytest.fixture(scope="session", autouse=True)
def no_windows():
    import matplotlib

    matplotlib.use("Agg")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A folder that all tests of a session keep generated scenes in."""
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture
def tiny(tmp_path, scenes):
    """Makes params of an experiment that runs in a second: `tiny({"run.seed": 1})`."""
    from eln_kit.store.params_file import build

    def make(knobs=()):
        folders = {"data.root": str(scenes), "run.folder": str(tmp_path / "run")}
        return build({}, TINY | folders | dict(knobs))

    return make


@pytest.fixture
def empty_project(tmp_path, monkeypatch):
    """The working folder, which has `params/` and `notebooks/`."""
    root = tmp_path / "my project"
    for name in ("params", "notebooks"):
        (root / name).mkdir(parents=True)
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope="session")
def trained(tmp_path_factory, scenes):
    """A run folder with stages 1 and 2, which no test writes to: `run` is a copy."""
    from finished import train

    from eln_kit.store.params_file import build

    folder = tmp_path_factory.mktemp("lab") / "run"
    params = build({}, TINY | {"data.root": str(scenes), "run.folder": str(folder)})
    train(params, "1_supervised", "2_error_localization")
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory, scenes, trained):
    """A run folder with all three stages, trained undisturbed."""
    from finished import copied, train

    from eln_kit.store.params_file import build

    folder = tmp_path_factory.mktemp("whole") / "run"
    params = build({}, TINY | {"data.root": str(scenes), "run.folder": str(folder)})
    copied(trained, params, "1_supervised", "2_error_localization")
    return train(params, "3_semi_supervised").folder


@pytest.fixture
def session(trained):
    """An error lab's session on it."""
    from eln_kit.lab import open_session

    return open_session(str(trained))


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    from published import write_archives

    return write_archives(tmp_path_factory.mktemp("published"), tmp_path_factory.mktemp("made"))


@pytest.fixture
def published(archives, monkeypatch):
    """The folder of small VOC, SBD and Cityscapes archives; `eln-kit data` expects as many images as they have."""
    from published import CITYSCAPES_COUNTS, VOC_COUNTS

    monkeypatch.setattr("eln_kit.tools.prepare.VOC_COUNTS", VOC_COUNTS)
    monkeypatch.setattr("eln_kit.tools.prepare.CITYSCAPES_COUNTS", CITYSCAPES_COUNTS)
    return archives


@pytest.fixture
def run(tiny, trained):
    """A run whose stages 1 and 2 have finished."""
    from finished import copied

    return copied(trained, tiny(), "1_supervised", "2_error_localization")
