import pytest

from eln_kit import params
from eln_kit.faults import ParamsError
from eln_kit.paths import project_root
from eln_kit.store.params_file import build, knob_names, load
from eln_kit.tools.knobs import allowed, describe


@pytest.fixture
def file(tmp_path):
    (tmp_path / "x.yaml").write_text("supervised: {steps: 7}\noptimizer: {lr: 1e-4}\n")
    return tmp_path / "x.yaml"


def test_a_file_changes_what_it_names_and_keeps_the_other_defaults(file):
    assert load(file).supervised.steps == 7
    assert load(file).optimizer == params.Optimizer(lr=1e-4), "a number needs no point before its exponent"


def test_knobs_given_by_hand_win_over_the_file(file):
    assert load(file, ["supervised.steps=9", "views.scale=[1,2]"]).supervised.steps == 9
    assert build({}, "run.seed=3 data.labels=1/8").data.labels == "1/8"


BOMB = "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{m}, *{m}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, ["aliases (*a) are not read"]),
        ("run: !!python/object/apply:os.system [touch ran]", ["not YAML", "could not determine a constructor"]),
        ("run: !mine {seed: 1}", ["not YAML", "!mine"]),
        ("run:\n  seed: 1\n  seed: 2\n", ["seed is given twice"]),
        ("run: {seed: 1}\nrun: {seed: 2}\n", ["run is given twice"]),
        ("[" * 5000, ["not YAML"]),
        ("run: [1, 2]", ["should be sections"]),
        ("seed: 1", ["should be sections"]),
        ("run: {seed: {seed: 1}}", ["run.seed", "integer"]),
        ("1: {seed: 1}", ["there is no knob 1"]),
        ("run: {1: 1}", ["run.1"]),
        ("run: {[1]: 1}", ["not YAML"]),
        ("run: {seed: [" + "1, " * 9999 + "1]}", ["run.seed = [1, 1,", "..."]),
        ("\x00", ["not YAML"]),
        ("run: {seed: 2026-13-45}", ["not YAML"]),
        ("superviced:\n  steps: 7\n", ["superviced", "did you mean supervised"]),
        ("supervised:\n  step: 7\n", ["supervised.step", "did you mean supervised.steps"]),
        ("supervised:\n  steps: many\n", ["supervised.steps", "'many'", "integer"]),
        ("supervised:\n  steps: 0\n", ["supervised.steps", "0", "greater than or equal to 1"]),
        ("supervised:\n  steps: true\n", ["supervised.steps", "integer"]),
        ("semi_supervised:\n  filter: elm\n", ["semi_supervised.filter", "'elm'", "'eln'"]),
        ("data:\n  labels: 0\n", ["data.labels", "at least 1"]),
        ("data:\n  labels: [1]\n", ["data.labels", "[1]"]),
        ("data:\n  labels: a few\n", ["data.labels", "fraction"]),
        ("views:\n  scale: [2, 1]\n", ["views.scale", "ascending"]),
        ("semi_supervised:\n  labeled: false\n  unlabeled: false\n", ["semi_supervised", "both off"]),
        ("semi_supervised: {filter: oracle, class_share: 0.6}", ["semi_supervised", "no meaning with filter: oracle"]),
        ("semi_supervised: {filter: views}", ["semi_supervised.filter: views needs model.eln_scales"]),
        ("optimizer:\n  lr: .nan\n", ["optimizer.lr", "finite"]),
    ],
)
def test_a_fault_is_one_line_that_names_file_knob_and_mend(tmp_path, text, words):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(ParamsError) as fault:
        load(file)
    assert "\n" not in str(fault.value)
    for word in [str(file), *words]:
        assert word in str(fault.value)


def test_two_faults_are_two_lines():
    with pytest.raises(ParamsError) as fault:
        build({"supervised": {"steps": 0}, "run": {"seed": -1}})
    assert len(str(fault.value).splitlines()) == 2


@pytest.mark.parametrize("knob", ["steps=3", "supervised.steps", "supervised.stepz=3"])
def test_a_knob_given_by_hand_is_checked_too(knob):
    with pytest.raises(ParamsError, match=r"supervised\.steps|section\.knob"):
        build({}, [knob])


def test_a_notebooks_knobs_are_quoted_as_in_a_shell_and_the_commands_are_not_cut():
    wanted = {"root": "/my data #2/x", "labels": "1/4", "classes": ""}
    in_notebook = build({"data": {"classes": "a"}}, "'data.root=/my data #2/x' data.labels=\"1/4\" data.classes=").data
    by_set = build({}, ["data.root=/my data #2/x", "data.labels=1/4", "data.classes="]).data
    for data in (in_notebook, by_set):
        assert {name: getattr(data, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("knob", "text"), [("data.root='a b'", "a b"), ("data.root=007", "007"), ("data.root=no", "no")]
)
def test_the_value_of_a_text_knob_is_text(knob, text):
    assert build({}, [knob]).data.root == text


def test_an_open_quote_is_one_line():
    with pytest.raises(ParamsError, match=r"\Aknobs = .*No closing quotation; close the quotes\Z"):
        build({}, "data.root='a b")


def test_every_params_file_of_the_project_is_valid():
    files = [f for f in (project_root() / "params").glob("*.yaml") if "classes" not in f.name]
    assert files
    for file in files:
        load(file)


def test_paper_shapes_has_the_published_method_on_the_images_networks_and_steps_of_make_run():
    paper, published, scenes = (load(name).flat() for name in ("paper_shapes", "voc_20_res101", "shapes"))
    method = {"model.eln_form", "model.eln_scales", "model.decoder", "optimizer.weight_decay", "optimizer.schedule"}
    method |= {knob for knob in paper if knob.startswith(("error_localization.", "semi_supervised."))}
    method |= {f"views.{knob}" for knob in ("flip", "jitter", "grey", "blur", "labeled", "cutmix")}
    method = {knob for knob in method if not knob.endswith(".steps")}
    assert {knob: paper[knob] for knob in method} == {knob: published[knob] for knob in method}
    others = set(paper) - method - {"run.folder", "views.scale", "evaluation.bound_steps"}
    assert {knob: paper[knob] for knob in others} == {knob: scenes[knob] for knob in others}
    assert paper["views.scale"] == [1, 1], "the whole scene, as the published files squeeze a whole image"
    assert published["views.squeeze"]


def test_every_knob_says_why_it_is_there():
    described = describe()
    for section, field in params.Params.model_fields.items():
        for name, knob in field.annotation.model_fields.items():
            assert knob.description, f"{section}.{name}"
            assert name in described
    assert "semi_supervised.threshold" in knob_names()


@pytest.mark.parametrize(
    ("section", "knob", "words"),
    [
        ("semi_supervised", "average", "kept | all"),
        ("optimizer", "lr", "number, above 0 to 1"),
        ("views", "crop", "2 x (whole number, from 16)"),
        ("error_localization", "ratios", "list of (number, from 1)"),
        ("run", "channels_last", "true | false or auto"),
    ],
)
def test_the_values_that_a_knob_may_have_are_told(section, knob, words):
    schema = params.Params.model_fields[section].annotation.model_json_schema()["properties"][knob]
    assert allowed(schema) == words
    assert f"({words})" in describe()


def test_params_are_found_by_name_from_any_folder_and_by_path_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load("shapes").supervised.steps == 400
    assert load("params/shapes.yaml", ["run.seed=3"]).run.seed == 3
    (tmp_path / "shapes").write_text("supervised: {steps: 7}")
    assert load("shapes").supervised.steps == 7
    with pytest.raises(ParamsError, match="shaped: no such params file"):
        load("shaped")


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({}, "ELN's trust of at least 0.5"),
        ({"class_share": 0.6}, "ELN's trust: the surest 60% of each predicted class"),
        ({"filter": "confidence", "threshold": 0.95}, "max softmax of at least 0.95"),
        ({"filter": "entropy", "threshold": 0.8}, "entropy: the lowest 80% of the pixels"),
        ({"filter": "none"}, "no filter"),
        ({"filter": "none", "image_gate": "class_shares"}, "no filter; images of plausible class shares alone"),
    ],
)
def test_the_filter_of_a_run_has_one_name(knobs, words):
    assert params.SemiSupervised(**knobs).rule() == words
