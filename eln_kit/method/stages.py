"""The three training stages: a batch in, named losses out. Their sum is what the training loop minimises."""

from collections.abc import Callable

import torch
from torch import Tensor

from eln_kit.data import Split
from eln_kit.data.views import Batch, strong_names
from eln_kit.method.filters import plausible, surest, surest_of_each_class, thresholds
from eln_kit.method.losses import (
    FEW,
    VOID,
    auxiliary_loss,
    contrastive_loss,
    correctness,
    cross_entropy,
    judgement_loss,
    over_processes,
    pseudo_label,
    wrong_pixels_weight,
)
from eln_kit.method.regions import at_features, mix, random_boxes, random_windows
from eln_kit.method.stage import Outcome, Stage
from eln_kit.models import Networks, Prediction
from eln_kit.models.error_localizer import (
    ErrorLocalizer,
    confidence_logit,
    entropy,
    further_views,
    mean_prediction,
    mirrored,
)
from eln_kit.models.features import Features, evaluating, predicted, upsample
from eln_kit.params import ErrorLocalization as Knobs
from eln_kit.params import Params


class Supervised(Stage):
    """Stage 1: cross-entropy of the student on labelled images."""

    name = "1_supervised"
    lasts: tuple[str, ...] = ("supervised.steps",)
    parts: tuple[str, ...] = ("student",)

    def forward(self, batch: Batch) -> Outcome:
        logits = self.networks.student(batch["image"]).logits
        return {"main": cross_entropy(logits, batch["mask"], weights=self.class_weights)}, {}


class Control(Supervised):
    """Stage 1 gone on with, for as many steps as stages 2 and 3 have: what longer training alone would give."""

    name = "control"
    lasts = ("error_localization.steps", "semi_supervised.steps")
    after = "1_supervised"
    sections = (*Supervised.sections, "semi_supervised.ema", "semi_supervised.ema_warmup")  # the teacher's
    parts = ("student", "teacher")
    measured = "teacher"


class ErrorLocalization(Stage):
    """Stage 2: stage 1's loss goes on, auxiliary decoders err on purpose, ELN learns to find the errors."""

    name = "2_error_localization"
    lasts = ("error_localization.steps",)
    after = "1_supervised"
    parts: tuple[str, ...] = ("student", "auxiliary", "eln")
    sections = (*Stage.sections, "error_localization")

    def forward(self, batch: Batch) -> Outcome:
        prediction = self.networks.student(batch["image"])
        return self.labeled_losses(prediction, batch["image"], batch["mask"])

    def before_optimizer(self) -> None:
        """An auxiliary decoder whose gate is closed rests: with no gradient the optimizer leaves it as it is."""
        last = [next(reversed([*decoder.parameters()])).grad for decoder in self.networks.auxiliary]
        gradients = [gradient for gradient in last if gradient is not None]
        if not gradients:
            return
        works = torch.stack([gradient.any() for gradient in gradients]).tolist()  # waits for the device, once a step
        for decoder, at_work in zip(self.networks.auxiliary, works, strict=True):
            if not at_work:
                decoder.zero_grad(set_to_none=True)

    @torch.no_grad()
    def without_dropout(self, features: Features) -> Tensor:
        """Class logits of main and auxiliary decoders, as ELN will meet them when it judges: `(K+1)B C h w`."""
        student = self.networks.student
        with evaluating(student.decoder) as decoder, evaluating(self.networks.auxiliary) as auxiliary:
            return torch.cat([student.classify(decoder(features)), *(decode(features) for decode in auxiliary)])

    @torch.no_grad()
    def looks(self, image: Tensor, features: Features) -> list[Tensor]:
        """What ELN sees beside each decoder's logits: the features where it works on them, and the same decoder's
        predictions of ELN's further views. `(K+1)B c h w` each.
        """
        eln, count = self.networks.eln, 1 + len(self.networks.auxiliary)
        with evaluating(self.networks.student) as student:
            decoded = [student.decoder(features).repeat(count, 1, 1, 1)] if eln.on_features else []
            seen = [student.encoder(student.normalize(view)) for view in mirrored(image, eln.scales)]
        return decoded + [self.without_dropout(logits).flip(3) for logits in seen]

    def labeled_losses(self, prediction: Prediction, image: Tensor, mask: Tensor) -> Outcome:
        """Losses of student, auxiliary decoders and ELN; the K + 1 predictions pass ELN as one batch."""
        knobs = self.params.error_localization
        main = cross_entropy(prediction.logits, mask, weights=self.class_weights)
        logits = [decoder(prediction.features) for decoder in self.networks.auxiliary]
        auxiliary = [cross_entropy(decoder_logits, mask, weights=self.class_weights) for decoder_logits in logits]

        features, count = prediction.features.detach(), 1 + len(logits)
        every, looks = self.without_dropout(features), self.looks(image, features)
        judged = self.networks.eln(image.repeat(count, 1, 1, 1), every, looks)
        eln = judgement_loss(judged, every, mask, knobs, count)
        follow_weight(self.networks.eln, every[: len(mask)], mask, knobs)

        losses = {"main": main, "auxiliary": auxiliary_loss(auxiliary, main, knobs.ratios), "eln": eln}
        measures = {f"ratio/{k}": over_processes(loss) / over_processes(main) for k, loss in enumerate(auxiliary, 1)}
        return losses, measures


class Bound(ErrorLocalization):
    """For study: a copy of ELN learns from the truth of the unlabelled images how the frozen student errs on them."""

    name = "bound"
    lasts = ("evaluation.bound_steps",)
    parts = ("eln",)
    after = "2_error_localization"
    sections = (*ErrorLocalization.sections, "evaluation.bound_steps")

    @staticmethod
    def unlabeled_images(params: Params) -> bool:
        return True

    def forward(self, batch: Batch) -> Outcome:
        student, eln, image = self.networks.student, self.networks.eln, batch["weak"]
        with torch.no_grad(), evaluating(student):
            logits = student(image).logits
        judged = eln(image, logits, eln.look_again(student, image))
        follow_weight(eln, logits, batch["truth"], self.params.error_localization)
        return {"eln": judgement_loss(judged, logits, batch["truth"], self.params.error_localization)}, {}


class SemiSupervised(ErrorLocalization):
    """Stage 3: the student also learns the teacher's labels of unlabelled images, where the filter keeps them."""

    name = "3_semi_supervised"
    lasts = ("semi_supervised.steps",)
    after = "2_error_localization"
    parts = ("student", "auxiliary", "eln", "teacher")
    sections = (*ErrorLocalization.sections, "semi_supervised")
    measured = "teacher"

    def __init__(self, networks: Networks, params: Params):
        super().__init__(networks, params)
        self.knobs = params.semi_supervised

    @staticmethod
    def unlabeled_images(params: Params) -> bool:
        return params.semi_supervised.unlabeled

    def forward(self, batch: Batch) -> Outcome:
        images, boxes = self.views(batch)
        predictions = self.predictions(images)
        losses: dict[str, Tensor] = {}
        measures: dict[str, Tensor] = {}
        if self.knobs.labeled:
            losses, measures = self.labeled_losses(predictions["image"], batch["image"], batch["mask"])
        if self.knobs.unlabeled:
            more_losses, more_measures = self.unlabeled_losses(predictions, boxes, batch)
            weight = min(1.0, self.step / self.knobs.ramp) if self.knobs.ramp else 1.0
            losses |= {name: weight * loss for name, loss in more_losses.items()}
            measures |= more_measures
        return losses, measures

    def views(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What passes the student: the images that a loss is for; and the boxes that CutMix put into strong ones."""
        knobs, images, boxes = self.knobs, {}, {}
        if knobs.labeled:
            images["image"] = batch["image"]
        if knobs.unlabeled and (knobs.weak_weight or knobs.contrast_weight):
            images["weak"] = batch["weak"]
        if knobs.unlabeled and (knobs.strong_weight or knobs.contrast_weight):
            images |= {name: batch[name] for name in strong_names(self.params)}  # type: ignore[literal-required]
        if self.params.views.cutmix:
            boxes = {
                name: random_boxes(batch["valid"], self.params.views.cutmix) for name in images if _is_strong(name)
            }
            images |= {name: mix(images[name], box) for name, box in boxes.items()}
        return images, boxes

    def predictions(self, images: dict[str, Tensor]) -> dict[str, Prediction]:
        """The student's of each view. All pass it together, so BatchNorm moves once, over all of them.

        With `strong_pass: own` there are two passes, the second of the strong views.
        """
        knobs, strong = self.knobs, [name for name in images if _is_strong(name)]
        passes = [[*images]] if knobs.strong_pass == "together" else [[n for n in images if n not in strong], strong]
        predictions: dict[str, Prediction] = {}
        for names in filter(None, passes):
            complementary = knobs.complementary and names == strong
            together = self.networks.student(torch.cat([images[name] for name in names]), complementary=complementary)
            predictions |= zip(names, _by_view(together, [len(images[name]) for name in names]), strict=True)
        return predictions

    def labeled_losses(self, prediction: Prediction, image: Tensor, mask: Tensor) -> Outcome:
        """As in stage 2 where ELN filters; else stage 1's loss alone."""
        if self.knobs.filter == "eln":
            return super().labeled_losses(prediction, image, mask)
        return {"main": cross_entropy(prediction.logits, mask, weights=self.class_weights)}, {}

    def unlabeled_losses(self, predictions: dict[str, Prediction], boxes: dict[str, Tensor], batch: Batch) -> Outcome:
        """Self-training and contrast of the weak and the strong views against the teacher's filtered labels."""
        knobs, losses = self.knobs, {}
        labels, embedding, measures = self.label(batch)
        for view in (name for name in predictions if name != "image"):
            box, weight = boxes.get(view), knobs.weak_weight if view == "weak" else knobs.strong_weight
            mixed = mix(labels, box)
            if weight:
                average_over = mix(batch["valid"], box) if knobs.average == "all" else None
                pseudo = cross_entropy(predictions[view].logits, mixed, average_over, self.class_weights)
                losses[view] = weight * pseudo
            if knobs.contrast_weight:
                contrast = self.contrast(predictions[view], mix(embedding, box), mixed)
                losses[f"contrast_{view}"] = knobs.contrast_weight * contrast
        return losses, measures

    @torch.no_grad()
    def label(self, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The teacher's label of the weak view, void where dropped (`B H W`), its embedding, and measures."""
        teacher = self.networks.teacher(batch["weak"])
        logits = upsample(teacher.logits.float(), batch["weak"].shape[2:])
        if self.knobs.filter == "views":
            scales = self.params.model.eln_scales
            logits = mean_prediction(logits, further_views(self.networks.teacher, batch["weak"], scales))
        keep = self.keep(batch, logits) & batch["valid"]
        if self.largest_shares is not None:
            keep &= plausible(predicted(logits), batch["valid"], self.largest_shares)[:, None, None]
        known = batch["truth"] != VOID
        right = (predicted(logits) == batch["truth"]) & known
        measures = {
            "kept_share": over_processes(keep.sum()) / over_processes(batch["valid"].sum()).clamp(min=FEW),
            "kept_accuracy": over_processes((right & keep).sum()) / over_processes((known & keep).sum()),
        }
        return pseudo_label(logits, keep), teacher.embedding, measures

    def keep(self, batch: Batch, logits: Tensor, trust: Callable[..., Tensor] | None = None) -> Tensor:
        """Pixels that the filter trusts, bool `B H W`; logits are the teacher's at image size.

        `trust` may do what the method of that name does in another way, such as in windows.
        """
        knobs, valid = self.knobs, batch["valid"]
        if knobs.filter == "none":
            return torch.ones_like(valid)
        if knobs.filter == "oracle":
            return predicted(logits) == batch["truth"]
        score = (trust or self.trust)(batch, logits)
        if knobs.class_share is not None:
            return surest_of_each_class(score, predicted(logits), valid, knobs.class_share)
        if knobs.filter == "entropy":
            return surest(score, valid, knobs.threshold)
        if knobs.adaptive:
            classes, confidence = predicted(logits), score.sigmoid()
            return confidence >= thresholds(knobs.threshold, confidence, classes, valid, logits.shape[1])[classes]
        return score >= torch.logit(torch.tensor(knobs.threshold)).item()

    def trust(self, batch: Batch, logits: Tensor) -> Tensor:
        """How sure the filter is of each pixel's label, float `B H W`: a probability's logit, or minus the entropy.

        Logits tell pixels apart whose probabilities are both 1 to the computer.
        """
        if self.knobs.filter == "eln":
            return self.networks.eln.judge_prediction(self.networks.teacher, batch["weak"], logits)[:, 0].float()
        if self.knobs.filter == "entropy":
            return -entropy(logits)[:, 0]
        return confidence_logit(logits)[:, 0]

    def contrast(self, student: Prediction, teacher: Tensor, labels: Tensor) -> Tensor:
        """The contrastive loss in random windows of the feature map, whose size bounds the memory."""
        labels = at_features(labels, teacher.shape[2:])
        windows = random_windows(teacher.shape[2:], (self.knobs.window, self.knobs.window), self.knobs.windows)
        student_maps, teacher_maps, label_maps = (
            torch.stack([maps[..., y, x] for y, x in windows], dim=1) for maps in (student.embedding, teacher, labels)
        )
        classes = student.logits.shape[1]
        return contrastive_loss(student_maps, teacher_maps, label_maps, self.knobs.temperature, classes)


def follow_weight(eln: ErrorLocalizer, logits: Tensor, mask: Tensor, knobs: Knobs) -> None:
    """Tell ELN what the main decoder's wrong pixels, `B C h w` against `B H W`, weigh in this step, if they do."""
    if knobs.calibrated and knobs.target == "right":
        eln.follow_weight(wrong_pixels_weight(correctness(logits, mask), knobs.max_weight))


def _is_strong(view: str) -> bool:
    return view.startswith("strong")


STAGES: dict[str, type[Stage]] = {
    stage.name: stage for stage in (Supervised, ErrorLocalization, Bound, SemiSupervised, Control)
}


def stages_of(params: Params, split: Split | None = None) -> list[type[Stage]]:
    """The stages that a run trains, in their order; without the bound where its split has no truth for it."""
    truth = split is None or split.has_truth
    left_out = {"control": not params.run.control, "bound": not (params.evaluation.bound_steps and truth)}
    return [stage for name, stage in STAGES.items() if not left_out.get(name)]


def _by_view(prediction: Prediction, sizes: list[int]) -> list[Prediction]:
    logits, embedding = prediction.logits.split(sizes), prediction.embedding.split(sizes)
    features = map(Features, zip(*(level.split(sizes) for level in prediction.features), strict=True))
    return [Prediction(*parts) for parts in zip(logits, embedding, features, strict=True)]
