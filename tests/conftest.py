import matplotlib
import pytest
from finished import train
from hypothesis import HealthCheck, settings
from published import CITYSCAPES_COUNTS, VOC_COUNTS, write_archives

from eln_kit.lab import open_session
from eln_kit.method.stages import ErrorLocalization, Supervised
from eln_kit.store.experiment import open_experiment
from eln_kit.store.params_file import build
from eln_kit.training.fit import fit

matplotlib.use("Agg")

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
    "model.encoder": "resnet10t",
    "model.eln_encoder": "resnet10t",
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


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A folder that all tests of a session keep generated scenes in."""
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture
def tiny(tmp_path, scenes):
    """Makes params of an experiment that runs in a second: `tiny({"run.seed": 1})`."""

    def make(knobs=()):
        folders = {"data.root": str(scenes), "run.folder": str(tmp_path / "run")}
        return build({}, TINY | folders | dict(knobs))

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory, scenes):
    """A run folder with stages 1 and 2."""
    folder = tmp_path_factory.mktemp("lab") / "run"
    params = build({}, TINY | {"data.root": str(scenes), "run.folder": str(folder)})
    experiment = open_experiment(params)
    for kind in (Supervised, ErrorLocalization):
        fit(kind(experiment.networks(kind.after), params), experiment)
    return folder


@pytest.fixture
def session(trained):
    """An error lab's session on it."""
    return open_session(str(trained))


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    return write_archives(tmp_path_factory.mktemp("published"), tmp_path_factory.mktemp("made"))


@pytest.fixture
def published(archives, monkeypatch):
    """The folder of small VOC, SBD and Cityscapes archives; `eln-kit data` expects as many images as they have."""
    monkeypatch.setattr("eln_kit.tools.prepare.VOC_COUNTS", VOC_COUNTS)
    monkeypatch.setattr("eln_kit.tools.prepare.CITYSCAPES_COUNTS", CITYSCAPES_COUNTS)
    return archives


@pytest.fixture
def run(tiny):
    """A run whose stages 1 and 2 have finished."""
    return train(tiny(), "1_supervised", "2_error_localization")
