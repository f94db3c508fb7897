"""The lab where nobody watches: the same figures and words at three fixed settings, kept in the run folder."""

from dataclasses import replace

from IPython.display import HTML, display
from matplotlib.figure import Figure

from eln_kit import notebook
from eln_kit.lab import views
from eln_kit.lab.judging import Judged
from eln_kit.lab.session import Session
from eln_kit.lab.settings import Settings

THRESHOLDS = (0.3, 0.5, 0.8)
PLACE = 0  # the held-out image shown
ELN_STEPS = 20


class Batch:
    """Three parts over one session."""

    def __init__(self, session: Session):
        self.session, self.folder = session, session.experiment.folder / "error_lab"
        knobs = session.params.error_localization
        own = Settings(tuple(knobs.ratios) or (2.0,), noise=knobs.noise, dropout=knobs.dropout)
        self.settings = [own, replace(own, ratios=(2.0, 5.0, 20.0, 50.0)), replace(own, noise=0.5, dropout=0.3)]
        display(HTML(views.STYLE))

    def show(self, part: int) -> None:
        """One of the three parts, from 0."""
        (self._make_errors, self._find_errors, self._what_if)[part]()

    def _make_errors(self) -> None:
        for number, settings in enumerate(self.settings, 1):
            list(self.session.make_errors(settings))
            ratios = ", ".join(f"{ratio:g}" for ratio in settings.ratios)
            display(HTML(views.caption(f"Setting {number}: ratios {ratios}; {views.describe(settings)}.")))
            errors, caption = views.errors(self.session, PLACE)
            self._show(f"errors_{number}", errors.figure, caption)
            display(HTML(views.numbers(self.session)))
            self._show(f"ratios_{number}", *views.ratios(self.session))
        list(self.session.sweep(self.settings[0]))
        self._show("sweep", *views.sweep(self.session, self.settings[0]))

    def _find_errors(self) -> None:
        judged = self._find()
        self._show("maps", *views.maps(self.session, judged))
        filtering = views.filtering(self.session, judged)
        for number, threshold in enumerate(THRESHOLDS, 1):
            display(HTML(views.filter_numbers(threshold, judged)))
            self._show(f"filter_{number}", filtering.at(threshold).figure, views.caption(views.FILTER_CAPTION))

    def _what_if(self) -> None:
        before = self._find()
        list(self.session.train_eln(ELN_STEPS, self.session.erring))
        after = self._find()
        display(HTML(views.trainings([("", before), ("; ".join(self.session.names[1:]), after)])))
        self._show("maps_after", *views.maps(self.session, after))

    def close(self) -> None:
        """As a desk has it; nothing goes on here."""

    def _find(self) -> Judged:
        """Of the main decoder's prediction, with the errors of the first setting."""
        list(self.session.make_errors(self.settings[0]))
        return self.session.find(PLACE, 0)

    def _show(self, name: str, figure: Figure, caption: str) -> None:
        display(notebook.keep(figure, self.folder / f"{name}.png"), HTML(caption))
