"""What the lab shows of a session: figures, and in words what is to be seen on them; with widgets or without."""

from html import escape

from matplotlib.figure import Figure

from eln_kit import figures
from eln_kit.errors import Ranking
from eln_kit.lab.session import BOUNDARY, MAIN, Judged, Session, rank_correlation

STYLE = """<style>
.eln-numbers { border-collapse: collapse; margin: 6px 0; line-height: 1.4 }
.eln-numbers td, .eln-numbers th { padding: 3px 10px; text-align: right; border-bottom: 1px solid #8885 }
.eln-numbers td:first-child { text-align: left; white-space: nowrap }
.eln-numbers th:first-child, .eln-numbers .words { text-align: left }
.eln-caption { max-width: 75em; line-height: 1.4 }
.eln-lab.jupyter-widgets-disconnected::before {
  content: "The kernel was restarted, so these controls do nothing: run all cells again (Run, Run All Cells).";
  font: bold 14px sans-serif; color: #b00; padding: 8px }
.eln-lab .jupyter-widgets-disconnected::before { display: none }
</style>"""


def errors(session: Session, place: int) -> tuple[Figure, str]:
    """The errors made on a held-out image, and a caption."""
    image, dataset = session.held[place], session.experiment.dataset
    masks = session.predictions(place)
    figure = figures.made_errors(image.image, image.truth, masks, session.names, dataset.classes, dataset.colors)
    rates = [figures.error_rate(image.truth, mask) for mask in masks]
    parts = [f"the {MAIN} errs on {rates[0]:.1%}"]
    parts += [
        f"auxiliary {each.number}, held at {each.ratio:g} times its loss, on {rate:.1%}"
        for each, rate in zip(session.erring, rates[1:], strict=True)
    ]
    return figure, caption(
        f"Held-out image {image.item.id} ({place + 1} of {len(session.held)}): of its pixels {', '.join(parts)}. Wrong "
        "pixels are vermilion on a dark image, void ones light grey."
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
    head += [f"shared with {_short(row['name'])}" for row in rows] + ["most often taken (true → predicted)"]
    body = []
    for row in rows:
        shared = [f"{row['overlap'][o['name']]:.2f}" if o["name"] in row["overlap"] else "" for o in rows]
        taken = ", ".join(f"{true} → {said} {share:.0%}" for true, said, share in row["taken_for"][:3])
        body.append([row["name"], f"{row['error_rate']:.1%}", f"{row['near_boundary']:.1%}", *shared, taken])
    return table(head, body, words=True) + caption(
        f"Over all {len(session.held)} held-out images. Shared: intersection over union of two predictions' wrong "
        "pixels; the lower, the more diverse the errors. The last column has shares of a prediction's errors."
    )


def sweep(session: Session, rates: dict[float, float]) -> tuple[Figure, str]:
    """Error rate against ratio, and a caption."""
    correlation = rank_correlation(rates)
    figure = figures.ratio_sweep(rates, session.main_error_rate, correlation)
    return figure, caption(
        f"One auxiliary decoder trained anew at each of {len(rates)} ratios: wrong pixels on the held-out images. "
        f"Spearman's rank correlation of ratio and error rate: {correlation:.2f}."
    )


def maps(session: Session, place: int, which: int, judged: Judged) -> tuple[Figure, str]:
    """Who expects errors where in a prediction, and a caption."""
    image = session.held[place]
    figure = figures.wrongness_maps(image.image, image.truth, judged.prediction, judged.trust)
    trained = f" and {session.eln_steps} steps of training here" if session.eln_steps else ""
    young = " (not trained yet)" if session.stage == "1_supervised" and not session.eln_steps else ""
    return figure, caption(
        f"Where {escape(session.names[which])} is wrong, and how wrong it seems to ELN after {session.stage}{trained}"
        f"{young}, to 1 - max softmax, and to entropy over its largest value, log C; bright is wrong, all on one scale."
    )


def filtering(session: Session, place: int, which: int, judged: Judged) -> figures.Filtering:
    """The figure that a threshold moves."""
    image, dataset = session.held[place], session.experiment.dataset
    trust, rankings = judged.trust["ELN"], session.rankings(which)
    return figures.Filtering(
        image.image, image.truth, judged.prediction, trust, rankings, dataset.classes, dataset.colors
    )


def filter_numbers(threshold: float, here: Ranking, pooled: Ranking, images: int) -> str:
    """A table of what a threshold does on one image and over all held-out ones."""
    rows = {"this image": here.at(threshold), f"all {images} held-out images": pooled.at(threshold)}
    head = ["ELN", "kept share", "right among kept", "precision of dropped", "recall of errors"]
    return table(head, [[name, *(f"{value:.1%}" for value in row.values())] for name, row in rows.items()])


FILTER_CAPTION = """Left: the pseudo-labels that are kept; dropped pixels are striped. Right: what became of each pixel;
dark is kept and right. Below, over all held-out images: precision against recall of errors, and the share of wrong
pixels among the kept ones; the dot is ELN at this threshold."""


def detection(session: Session, which: int) -> str:
    """AUPR of each detector on one prediction of the held-out images, in words."""
    found = ", ".join(f"{name} {ranking.aupr:.3f}" for name, ranking in session.rankings(which).items())
    return f"AUPR of errors of {escape(session.names[which])}: {found}"


def learnt(session: Session, before: str) -> str:
    """How ELN's training here has changed what it finds."""
    return caption(f"Before: {before}.") + caption(
        f"After {session.eln_steps} steps here in all: {detection(session, 0)}. The run's own ELN stays as it is."
    )


def caption(words: str) -> str:
    return f'<p class="eln-caption">{" ".join(words.split())}</p>'


def table(head: list[str], rows: list[list[str]], words: bool = False) -> str:
    """HTML of text cells; those of the last column are `words`."""
    lines = []
    for tag, row in [("th", head), *(("td", row) for row in rows)]:
        kinds = [' class="words"' if words and cell is row[-1] else "" for cell in row]
        cells = [f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<table class="eln-numbers">{"".join(lines)}</table>'


def _short(name: str) -> str:
    return name.partition(",")[0]
