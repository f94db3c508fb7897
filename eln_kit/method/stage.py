"""What the training loop knows of a stage."""

from operator import attrgetter

from torch import Tensor, nn

from eln_kit.models import Networks, Segmenter, Which
from eln_kit.params import Params

Outcome = tuple[dict[str, Tensor], dict[str, Tensor]]  # losses, measures


class Stage(nn.Module):
    """A module over the networks: `forward(batch)` gives the losses and, for the log, measures.

    Attributes:
        name: of its notebook and of its folder in a run.
        lasts: the knobs whose sum is its number of steps.
        after: the stage whose networks it starts from; None for new ones.
        parts: the networks that its checkpoint holds.
        sections: params that its result depends on, whole sections or single ones as `section.knob`.
        measured: whose mIoU tells how good it is, the student's or the teacher's.
        class_weights: factors of the classes in every cross-entropy, float `C`; None until training sets them.
        largest_shares: the largest share of a labelled crop that each class takes, float `C`; as `class_weights`.
        step: the one that is being taken, from 1; training sets it.
    """

    name: str
    lasts: tuple[str, ...]
    after: str | None = None
    parts: tuple[str, ...]
    sections: tuple[str, ...] = ("data", "views", "model", "optimizer", "supervised")
    measured: Which = "student"
    step = 1

    def __init__(self, networks: Networks, params: Params):
        super().__init__()
        self.networks = networks
        self.params = params
        self.class_weights: Tensor | None
        self.largest_shares: Tensor | None
        self.register_buffer("class_weights", None, persistent=False)
        self.register_buffer("largest_shares", None, persistent=False)

    @classmethod
    def length(cls, params: Params) -> int:
        """How many training steps the stage has."""
        return sum(attrgetter(knob)(params) for knob in cls.lasts)

    @staticmethod
    def unlabeled_images(params: Params) -> bool:
        """Whether its batches have unlabelled images too."""
        return False

    @property
    def steps(self) -> int:
        return self.length(self.params)

    @property
    def unlabeled(self) -> bool:
        return self.unlabeled_images(self.params)

    @property
    def segmenter(self) -> Segmenter:
        """The network that the stage is measured by."""
        return self.networks.segmenter(self.measured)

    def before_optimizer(self) -> None:
        """What precedes the optimizer's step, once there are gradients."""

    def update_teacher(self, step: int) -> None:
        """After the optimizer's step of that number, counted from 1: the moving average, where there is a teacher."""
        if "teacher" in self.parts:
            self.networks.update_teacher(step)
