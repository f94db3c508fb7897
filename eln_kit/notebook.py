"""What a notebook needs around the package: its parameters, short errors, controls, source code to read."""

import html
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as w
from IPython import get_ipython
from IPython.display import HTML, Image, Markdown, display
from matplotlib.figure import Figure

from eln_kit import figures
from eln_kit.audience import person_watches
from eln_kit.data import DataSet, Item
from eln_kit.faults import Fault, LockedError
from eln_kit.method.stages import STAGES
from eln_kit.params import Params
from eln_kit.paths import resolve
from eln_kit.store import checkpoint
from eln_kit.store.branch import branched, open_branch
from eln_kit.store.experiment import Experiment, load_params
from eln_kit.store.lock import is_held
from eln_kit.store.params_file import build, load, save
from eln_kit.strip import Strip

STYLE = (  # lines of source scroll sideways, and text breaks between words
    "<style>.jp-OutputArea-output.jp-RenderedText pre { word-break: normal; overflow-wrap: anywhere }"
    " .jp-RenderedHTMLCommon pre { white-space: pre; word-break: normal; overflow-x: auto;"
    " font-family: var(--jp-code-font-family), monospace; font-size: var(--jp-code-font-size) }</style>"
)


def open_experiment(namespace: dict) -> Experiment:
    """Open the experiment that a notebook's parameters describe, and say which it is; pass `globals()`.

    `params` is a params file, its name, or a run folder; `knobs` are single knobs on top. Where papermill was given a
    file of sections (`-f params/shapes.yaml`), these count instead of `params`. The run folder keeps what was asked for
    in params.yaml. From here on bad params, data or checkpoints show as one line; see `short_errors`.

    Raises:
        CheckpointError: the run folder holds stages that were trained with other params.
    """
    short_errors()
    given, knobs = namespace["params"], namespace["knobs"]
    sections = {name: namespace[name] for name in Params.model_fields if isinstance(namespace.get(name), dict)}
    if sections:
        params = build(sections, knobs, source="the notebook's parameters")
    elif (folder := resolve(given)).is_dir():
        params = load_params(folder, knobs)
    else:
        params = load(given, knobs)
    experiment = open_branch(branched(params))
    checkpoint.check_stages(experiment.folder, experiment.params)
    _keep_params(experiment)
    print(summary(experiment))
    changed = experiment.params.changed()
    display(HTML(STYLE + _folded(f"{len(changed)} knobs differ from their defaults", "\n".join(changed))))
    return experiment


def _keep_params(experiment: Experiment) -> None:
    """Write params.yaml for the notebooks that come after; raises LockedError where a run goes on with other ones."""
    folder, own = experiment.folder, ("run.folder", "run.start_from")
    if not is_held(folder):
        return save(experiment.params, folder / "params.yaml")
    now, going_on = experiment.params.flat(), load_params(folder).flat()
    if changed := [knob for knob, value in now.items() if value != going_on[knob] and knob not in own]:
        raise LockedError(f"{folder}: a run goes on here with another {', '.join(changed)}; set run.folder to another")


def summary(experiment: Experiment) -> str:
    """Two lines on top of a notebook: the run and its finished stages, the data."""
    split = experiment.split
    done = [name for name in STAGES if experiment.has_finished(name)]
    counts = f"{len(split.labeled)} labelled and {len(split.unlabeled)} unlabelled images"
    if experiment.extra:
        counts += f", {len(experiment.extra)} of them with a predicted mask"
    return (
        f"run      {experiment.folder}; finished: {', '.join(done) or 'no stage yet'}\n"
        f"data     {experiment.dataset.name}, {len(experiment.dataset.classes)} classes; {counts}"
    )


def short_errors() -> None:
    """From here on an expected error shows as one line instead of a traceback."""
    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc((Fault, KeyboardInterrupt), _one_line)


def keep(figure: Figure, path: Path) -> Image:
    """Save a figure into the run folder and give the file's picture, to be shown."""
    return Image(figures.save(figure, path))


def choose(draw: Callable[..., Figure], kept: dict[Path, dict], **choices: dict[str, Any]) -> None:
    """Show `draw(...)` with a control for each of its arguments; where nobody watches, at the settings that are kept.

    Args:
        kept: file in the run folder -> arguments, those left out being the first of their choices; drawn and saved in
            any case. The first is where the controls begin.
        choices: argument -> name -> value.
    """
    first = {name: next(iter(values.values()), None) for name, values in choices.items()}
    for path, arguments in kept.items():
        picture = keep(draw(**first | arguments), path)
        if not person_watches():
            display(picture)
    if kept and person_watches():
        display(_chooser(draw, first | next(iter(kept.values())), choices))


def _chooser(draw: Callable[..., Figure], start: dict, choices: dict[str, dict[str, Any]]) -> w.VBox:
    picture, controls = w.Image(layout=w.Layout(max_width="100%", object_fit="contain")), {}
    for argument, values in choices.items():
        now = next(name for name, value in values.items() if value == start[argument])
        pictures = {name: _pictured(value) for name, value in values.items()}
        if any(pictures.values()):
            controls[argument] = Strip(pictures, now)
        else:
            options = {"description": argument, "continuous_update": False, "layout": w.Layout(width="600px")}
            controls[argument] = w.SelectionSlider(options=list(values), value=now, **options)

    def show(_: object = None) -> None:
        arguments = {argument: choices[argument][control.value] for argument, control in controls.items()}
        picture.value = figures.drawn(figures.on_paper(draw(**arguments)))

    for control in controls.values():
        control.observe(show, "value")
    show()
    return w.VBox([*controls.values(), picture])


def _pictured(choice: Any) -> Item | None:
    """The one image that a choice is; None where it is several or something else."""
    (only,) = choice if isinstance(choice, list) and len(choice) == 1 else (choice,)
    return only if isinstance(only, Item) else None


def each(together: list[Item], every: list[Item]) -> dict[str, list[Item]]:
    """Choices of images: some at once, or each of all by its name."""
    return {f"{len(together)} at once": together, **{item.id: [item] for item in every}}


def each_class(dataset: DataSet) -> dict[str, int | None]:
    """Choices of classes: all, or one."""
    return {"all classes": None, **{name: index for index, name in enumerate(dataset.classes)}}


def source(thing: Callable) -> None:
    """Show the source of a function, or of a stage's `forward`, without its docstring; the whole is folded below."""
    whole = inspect.getsource(thing)
    code = textwrap.dedent(inspect.getsource(getattr(thing, "forward", thing)))
    before, quotes, rest = code.partition('    """')
    if quotes:
        code = before + rest.partition('"""\n')[2].lstrip("\n")
    display(Markdown(f"```python\n{code}```"))
    place = f"{thing.__module__.replace('.', '/')}.py"
    display(HTML(_folded(f"all of it, from {place}", whole)))


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary><pre>{html.escape(text)}</pre></details>"


def _one_line(shell: Any, kind: type, error: BaseException, traceback: Any, tb_offset: int | None = None) -> list[str]:
    line = [f"\x1b[31m{kind.__name__}\x1b[0m: {error}"]
    shell._showtraceback(kind, error, line)
    return line
