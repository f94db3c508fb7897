"""What the lab shows of a session: figures, and in words what is to be seen on them; with widgets or without."""

from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from eln_kit import figures
from eln_kit.data import VOID
from eln_kit.evaluation.measures import interval
from eln_kit.lab.erring import RATIOS, Point, rank_correlation
from eln_kit.lab.figures import Filtering, MadeErrors, ratio_sweep, wrongness_maps
from eln_kit.lab.judging import DRAWS, Judged
from eln_kit.lab.session import BOUNDARY, MAIN, Session
from eln_kit.lab.settings import Settings

STYLE, SCRIPT = (Path(__file__).with_name(f"{name}.html").read_text(encoding="utf-8") for name in ("style", "script"))


def errors(session: Session, place: int) -> tuple[MadeErrors, str]:
    """The errors made on a held-out image, and a caption."""
    image, dataset = session.held[place], session.experiment.dataset
    masks = session.predictions(place)
    figure = MadeErrors(image.image, image.truth, masks, dataset.classes, dataset.colors)
    rates = [figures.error_rate(image.truth, mask) for mask in masks.values()]
    parts = [f"the {MAIN} errs on {rates[0]:.1%}"]
    parts += [
        f"auxiliary {each.number}, held at {each.ratio:g} times its loss, on {rate:.1%} ({len(each.ratios)} steps)"
        for each, rate in zip(session.erring, rates[1:], strict=True)
    ]
    which = f"{escape(image.item.id)} ({place + 1} of {len(session.held)})"
    return figure, caption(
        f"Held-out image {which}: of its pixels {', '.join(parts)}. Wrong pixels are "
        "vermilion on a dark image, void ones light grey."
    )


def ratios(session: Session) -> tuple[Figure, str]:
    """How far the auxiliary decoders have come down to their ratios, and a caption."""
    figure = figures.ratio_curves(session.ratio_records(), [each.ratio for each in session.erring])
    last = [f"auxiliary {e.number} at {sum(e.ratios[-10:]) / max(len(e.ratios[-10:]), 1):.1f}" for e in session.erring]
    return figure, caption(
        "Each auxiliary decoder's loss over the main one's while it trains on frozen features; it learns only while "
        f"above its dashed line. Mean of the last ten steps: {', '.join(last)}."
    )


def numbers(session: Session) -> str:
    """A table of what the errors on all held-out images are like."""
    rows = session.describe_errors()
    head = ["prediction", "wrong", f"within {BOUNDARY} px of a boundary"]
    head += [
        "shared with main",
        *(f"with {each.number}" for each in session.erring),
        "most often taken (true → predicted)",
    ]
    body = []
    for row in rows:
        shared = [percent(row["overlap"][o["name"]]) if o["name"] in row["overlap"] else "" for o in rows]
        taken = ", ".join(f"{true} → {said} {share:.0%}" for true, said, share in row["taken_for"][:3])
        body.append([row["name"], percent(row["error_rate"]), percent(row["near_boundary"]), *shared, taken])
    return table(head, body, words=True) + caption(
        f"Over all {len(session.held)} held-out images. Shared: intersection over union of two predictions' wrong "
        "pixels; the lower, the more diverse the errors. The last column has shares of a prediction's errors."
    )


def dragged(number: int, ratio: float, point: Point) -> tuple[str, str]:
    """A name and a caption for what the sweep knows nearest to a ratio that is dragged."""
    return f"auxiliary {number}, about {ratio:g}", caption(
        f"In place of auxiliary {number}: the sweep's decoder of the nearest ratio, {ratio:g}, which errs on "
        f"{point.error_rate:.1%} of all held-out images. The one of exactly this ratio is trained when you let go."
    )


def sweep(session: Session, settings: Settings) -> tuple[Figure, str]:
    """Error rate against ratio, as far as they are known, and a caption."""
    points = session.points(settings)
    rates = {ratio: point.error_rate for ratio, point in points.items()}
    figure = ratio_sweep(rates, session.main_error_rate, rank_correlation(points))
    return figure, caption(f"{len(rates)} of {len(RATIOS)} ratios, {describe(settings)}")


def describe(settings: Settings) -> str:
    """All but the ratios."""
    return f"{settings.steps} steps, noise {settings.noise:g}, {settings.dropout:.0%} of the channels dropped"


def maps(session: Session, judged: Judged) -> tuple[Figure, str]:
    """Who expects errors where in a prediction, and a caption."""
    image, judge = session.held[judged.place], judged.judge
    figure = wrongness_maps(image.image, image.truth, judged.prediction, judged.trust)
    trained = f" and {judge.eln_steps} steps of training here" if judge.eln_steps else ""
    young = " (not trained yet)" if session.stage == "1_supervised" and not judge.eln_steps else ""
    return figure, caption(
        f"Where the {escape(judge.name)} is wrong, and how wrong it seems to ELN after stage {session.stage[0]}"
        f"{trained}{young}, to 1 - max softmax, and to entropy over its largest value, log C; bright is wrong, "
        "all on one scale."
    )


def filtering(session: Session, judged: Judged) -> Filtering:
    """The figure that a threshold moves."""
    image, dataset = session.held[judged.place], session.experiment.dataset
    trust, rankings = judged.trust["ELN"], judged.everywhere.rankings
    return Filtering(image.image, image.truth, judged.prediction, trust, rankings, dataset.classes, dataset.colors)


def filter_numbers(threshold: float, judged: Judged) -> str:
    """A table of what a threshold does on one image and over all held-out ones."""
    every = judged.everywhere.rankings["ELN"].at(threshold)
    names = ["pixels kept", "right among them", "precision of the dropped", "recall of errors"]
    rows = [*zip(names, map(percent, judged.here.at(threshold).values()), map(percent, every.values()), strict=True)]
    return table(["ELN", "this image", "all held-out"], [[*row] for row in rows])


Under = tuple[int, dict[str, Tensor], dict[str, Tensor]]


def pixel(session: Session, under: Under, row: int, column: int) -> str:
    """What is true and said of one pixel, and who trusts what is said.

    Args:
        under: what a picture shows: the place of a held-out image, predictions by name, trust by detector; `H W`.
    """
    place, said, trust = under
    names: dict[float, str] = {VOID: "void", **dict(enumerate(session.experiment.dataset.classes))}
    truth = session.held[place].truth[row, column].item()
    lines = [f"truth: <b>{escape(names[truth])}</b>"]
    for who, mask in said.items():
        wrong = "" if truth in (VOID, mask[row, column].item()) else ", wrong"
        lines.append(f"{escape(who)}: <b>{escape(names[mask[row, column].item()])}</b>{wrong}")
    lines += [f"trust of {who}: {each[row, column]:.0%}" for who, each in trust.items()]
    return "<p>" + "<br>".join(lines) + "</p>"


FILTER_CAPTION = """Left: the pseudo-labels that are kept; dropped pixels are striped. Right: what became of each pixel;
dark is kept and right. Below, over all held-out images: precision against recall of errors, and the share of wrong
pixels among the kept ones; the dot is ELN at this threshold."""


def trainings(trained: list[tuple[str, Judged]]) -> str:
    """A table of how well ELN finds the main decoder's errors: the run's own, then after each training here.

    Args:
        trained: the decoders of the training, in words, and what was judged after it; the first is before any.
    """
    own = trained[0][1].everywhere
    names, rows = list(own.rankings), []
    for decoders, judged in trained:
        now, steps = judged.everywhere, judged.judge.eln_steps
        found = [_with_interval(now.rankings[name].aupr, now.auprs[name]) for name in names]
        gain = now.rankings["ELN"].aupr - own.rankings["ELN"].aupr
        change = _with_interval(gain, now.auprs["ELN"] - own.auprs["ELN"], "+") if steps else ""
        rows.append([f"{steps} steps" if steps else "the run's own", *found, change, decoders])
    return table(["trained here", *names, "ELN minus the run's own", "last trained on"], rows, words=True) + caption(
        f"AUPR of the main decoder's errors; in brackets the middle 95 % of {DRAWS} draws of as many held-out images. "
        "The difference is drawn on the same images: where its interval holds 0, they do not say whether training "
        "helped. The run's own ELN stays as it is."
    )


def _with_interval(value: float, draws: np.ndarray, sign: str = "") -> str:
    low, high = interval(draws)
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def percent(share: float) -> str:
    """A dash where there was nothing to divide by."""
    return f"{share:.1%}" if share == share else "–"


def caption(words: str) -> str:
    return f'<p class="eln-caption">{" ".join(words.split())}</p>'


def table(head: list[str], rows: list[list[str]], words: bool = False) -> str:
    """HTML of text cells; those of the last column are `words`."""
    lines = []
    for tag, row in [("th", head), *(("td", row) for row in rows)]:
        kinds = [""] * (len(row) - 1) + [' class="words"' if words else ""]
        cells = [f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<table class="eln-numbers">{"".join(lines)}</table>'
