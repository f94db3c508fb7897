"""Every knob of an experiment, once: its type, default, range, unit and why it is there.

What is left out keeps its default, and the defaults suit small generated scenes. `params_file.py` reads the sections
from YAML or from a notebook, and turns faults into readable lines.
"""

from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Float = Annotated[float, Field(strict=False, allow_inf_nan=False)]
Share = Annotated[Float, Field(ge=0, le=1)]
Pair = Annotated[list[Float], Field(min_length=2, max_length=2)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, validate_default=True)


class Data(Section):
    """Which images, and how many of them keep their labels."""

    name: Literal["shapes", "folder", "voc", "cityscapes"] = Field("shapes", description="kind of data set")
    root: str = Field("", description="folder of the data set; empty for shapes: the user's cache folder")
    classes: str = Field(
        "",
        description="YAML file of class names and colours; empty: dataset.yaml in the root, or found in masks",
    )
    labels: int | float | str = Field(
        "1/8", description="training images that keep their labels: a count (24) or a fraction (1/8, 0.125)"
    )
    seed: int = Field(0, ge=0, description="draws which images keep their labels")
    draw: Literal["covering", "random"] = Field(
        "covering",
        description="covering: every class as far as the number allows, for which the masks of all images are read; "
        "random: none is read; eln-kit choose picks one of each kind of image for data.labeled_ids",
    )
    split_id: int | None = Field(
        None,
        ge=0,
        description="official list of this number, for labels 1/N: N_labeled_ID.txt and N_unlabeled_ID.txt; drawn with "
        "this seed where the lists are not there",
    )
    held_out: int = Field(
        0,
        ge=0,
        description="labelled images kept out of training, to pick the best step on and to calibrate ELN; whole groups "
        "of them where dataset.yaml names groups; 0 keeps the last step only",
    )
    labeled_ids: str = Field("", description="text file of ids to use as labelled, one a line; overrides labels")
    unlabeled_ids: str = Field("", description="text file of ids to use as unlabelled; empty: all the others")
    extra_masks: str = Field(
        "",
        description="folder of predicted masks for unlabelled images, such as labelled/trusted of eln-kit predict; the "
        "stages learn from them, too",
    )
    extra_weight: Float = Field(
        1.0,
        ge=0.01,
        le=1,
        description="how often an image with an extra mask is drawn, over one with a real mask; rounded to 1/n",
    )
    resize: Float = Field(1.0, ge=0.05, le=4, description="factor on both image sides before anything else")
    depth: Annotated[int, Field(ge=8, le=16)] | Literal["auto"] = Field(
        "auto",
        description="bits that 16-bit images use, such as 12 from many sensors; auto: as many as they need",
    )
    bands: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)] | None = Field(
        None, description="the three bands to read of TIFFs that have more, counted from 1, such as [3, 2, 1]"
    )
    batch_labeled: int = Field(8, ge=1, description="labelled images a step, all processes together")
    batch_unlabeled: int = Field(8, ge=1, description="unlabelled images a step, all processes together")
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="loader processes of each training process; 0 loads between the steps; auto: 0 without a GPU, else "
        "as many as the processor's cores allow, up to 8",
    )
    cache: Literal["auto", "none"] = Field(
        "auto",
        description="auto: keep decoded images in memory, as long as they take less than a quarter of what is free",
    )
    shapes_train: int = Field(400, ge=1, description="generated training scenes")
    shapes_val: int = Field(100, ge=1, description="generated validation scenes")
    shapes_size: int = Field(64, ge=32, le=1024, description="side of a generated scene, pixels")

    @field_validator("labels")
    @classmethod
    def _labels_are_a_count_or_a_fraction(cls, labels: int | str) -> int | str:
        if isinstance(labels, bool):
            raise ValueError("should be a count such as 24 or a fraction such as 1/8")
        if isinstance(labels, int):
            if labels < 1:
                raise ValueError("should be at least 1 image")
            return labels
        try:
            share = Fraction(labels)
        except (ValueError, ZeroDivisionError):
            raise ValueError("should be a count such as 24 or a fraction such as 1/8") from None
        if not 0 < share <= 1:
            raise ValueError("as a fraction should be above 0 and at most 1")
        return labels


class Views(Section):
    """What is done to a training image: the weak view is cropped and flipped, the strong one recoloured too."""

    crop: list[Annotated[int, Field(ge=16)]] = Field(
        [64, 64], min_length=2, max_length=2, description="height and width of a training crop, pixels"
    )
    squeeze: bool = Field(
        False, description="resize the whole image to the crop's size instead of zooming and cropping; the paper on VOC"
    )
    scale: Pair = Field([0.75, 1.5], description="range of the random zoom before the crop; [1, 1] turns it off")
    flip: Share = Field(0.5, description="probability of a horizontal flip")
    jitter: list[Share] = Field(
        [0.4, 0.4, 0.4, 0.1],
        min_length=4,
        max_length=4,
        description="strong view: brightness, contrast, saturation, hue",
    )
    grey: Share = Field(0.2, description="strong view: probability of conversion to grey")
    blur: Share = Field(0.0, description="strong view: probability of a Gaussian blur")
    labeled: Literal["weak", "strong"] = Field(
        "weak",
        description="which view a labelled image is learnt in; strong: recoloured as unlabelled ones are, so that few "
        "labels stand for more lights and stains",
    )
    cutmix: Share = Field(
        0.0, description="strong view: probability that a box of it comes from another image of the batch"
    )

    @field_validator("scale")
    @classmethod
    def _scale_ascends(cls, scale: list[float]) -> list[float]:
        if not 0.1 <= scale[0] <= scale[1] <= 10:
            raise ValueError("should be two ascending factors between 0.1 and 10")
        return scale

    @field_validator("jitter")
    @classmethod
    def _hue_is_at_most_half(cls, jitter: list[float]) -> list[float]:
        if jitter[3] > 0.5:
            raise ValueError("hue, the fourth, should be at most 0.5")
        return jitter


class Model(Section):
    """The networks."""

    encoder: str = Field("resnet10t", description="timm name of the segmenter's encoder; the paper has resnet101")
    encoder_weights: str = Field("none", description="imagenet (timm downloads it), a local file, or none")
    freeze_encoder: bool = Field(
        False, description="the segmenter's encoder keeps its weights and BatchNorm statistics; for pretrained ones"
    )
    eln_encoder: str = Field("resnet10t", description="timm name of ELN's encoder; the paper has resnet34")
    eln_weights: str = Field("none", description="imagenet, a local file, or none")
    decoder: Literal["deeplabv3plus", "segformer", "fpn", "upernet"] = Field(
        "deeplabv3plus",
        description="of segmenter, auxiliary decoders and ELN; the paper has deeplabv3plus; with a pretrained encoder "
        "segformer learns faster",
    )
    dilations: list[Annotated[int, Field(ge=1)]] = Field(
        [],
        description="dilations of the 3x3 convolutions of a ResNet's last stage, one a block; empty: timm's own; "
        "the paper has 2, 4, 8",
    )
    eln_dilations: list[Annotated[int, Field(ge=1)]] = Field(
        [], description="the same for ELN's encoder; the paper has 1, 1, 1"
    )
    eln_form: Literal["residual", "features", "published"] = Field(
        "residual",
        description="residual: ELN corrects the logit of the max softmax; features: so does a small head on the "
        "segmenter's features, without an encoder of its own; published: the paper's, from scratch",
    )
    eln_scales: list[Annotated[Float, Field(ge=0.25, le=4)]] = Field(
        [],
        max_length=4,
        description="scales of ELN's further views: the segmenter predicts the mirrored image; the paper has none",
    )
    decoder_channels: int = Field(64, ge=8, description="width of ASPP and decoder; the paper has 256")
    embedding_channels: int = Field(64, ge=2, description="width of the contrastive embedding; the paper has 128")
    atrous_rates: list[Annotated[int, Field(ge=1)]] = Field(
        [1, 2, 3], min_length=1, description="dilations of ASPP; the paper has 6, 12, 18 for large images"
    )


class Optimizer(Section):
    """AdamW, in every stage."""

    lr: Float = Field(2e-3, gt=0, le=1, description="learning rate of decoders and heads; the paper has 1e-4")
    encoder_lr_factor: Float = Field(1.0, ge=0, le=10, description="the encoders' rate over lr; the paper has 0.1")
    eln_lr_factor: Float = Field(1.0, ge=0, le=10, description="a further factor for ELN, but not its residual scales")
    weight_decay: Float = Field(1e-4, ge=0, le=1, description="AdamW's decoupled decay; the paper has 1e-5")
    schedule: Literal["constant", "poly", "cosine"] = Field(
        "constant", description="poly falls as (1 - step/steps)^0.9, cosine as half a cosine; both to 0, in each stage"
    )
    warmup: int = Field(0, ge=0, description="steps at the start of each stage over which the rate rises to lr")
    class_weights: Literal["none", "sqrt"] = Field(
        "none",
        description="weights of the classes in every cross-entropy, higher where labelled pixels are rarer: sqrt is "
        "the square root of median-frequency balancing",
    )


class Supervised(Section):
    """Stage 1: cross-entropy on the labelled images."""

    steps: int = Field(400, ge=1, description="training steps")


class ErrorLocalization(Section):
    """Stage 2: auxiliary decoders that stay worse on purpose, and ELN that learns to find their errors."""

    steps: int = Field(150, ge=1, description="training steps")
    ratios: list[Annotated[Float, Field(ge=1)]] = Field(
        [2.0, 5.0],
        max_length=8,
        description="one auxiliary decoder each: it trains while its loss is above this many times the main one's; "
        "the paper has 20 and 50",
    )
    noise: Float = Field(
        0.0,
        ge=0,
        le=5,
        description="noise on the auxiliary decoders' features, as a multiple of each channel's deviation",
    )
    dropout: Float = Field(0.0, ge=0, le=0.9, description="share of their feature channels that is dropped")
    target: Literal["right", "true_class"] = Field(
        "right",
        description="what ELN learns: right, whether the prediction is right, wrong pixels weighted (the paper); "
        "true_class, the probability that the prediction gives the true class (ConfidNet)",
    )
    max_weight: Float = Field(
        20.0, ge=1, description="bound of (right pixels / wrong pixels), the weight of a wrong pixel"
    )
    calibrated: bool = Field(
        True,
        description="turn ELN's score towards a probability: undo the weight of wrong pixels and, with data.held_out, "
        "fit an increasing map; off: thresholds are on the score, as in the paper",
    )


class SemiSupervised(Section):
    """Stage 3: pseudo-labels of the EMA teacher on unlabelled images, filtered pixel by pixel."""

    steps: int = Field(200, ge=1, description="training steps")
    labeled: bool = Field(True, description="keep the losses of stages 1 and 2 on labelled images")
    unlabeled: bool = Field(True, description="learn from unlabelled images")
    filter: Literal["eln", "confidence", "views", "entropy", "none", "oracle"] = Field(
        "eln",
        description="what drops pixels: ELN, the max softmax, the max softmax of the mean over the image and ELN's "
        "further views (labels are then that mean's), the entropy, nothing, or the truth (for study)",
    )
    threshold: Share = Field(
        0.5,
        description="keep a pixel whose trust (eln) or max softmax (confidence, views) is at least this; entropy: keep "
        "this share of a process's pixels, those of the lowest entropy",
    )
    adaptive: bool = Field(
        False,
        description="lower the threshold for classes that are less sure in a step: times their mean trust or max "
        "softmax over that of the surest class (FreeMatch)",
    )
    class_share: Share | None = Field(
        None,
        description="if set, class-balanced selection instead of a threshold: keep the surest share of each predicted "
        "class in a process's batch",
    )
    image_gate: Literal["none", "class_shares"] = Field(
        "none",
        description="class_shares: leave an unlabelled crop out while a class takes a larger share of its prediction "
        "than of any labelled crop",
    )
    ema: Share = Field(0.99, description="decay of the teacher's moving average, a step; the paper has 0.995")
    ema_warmup: bool = Field(False, description="decay at most 1 - 1/(step + 1), so that the teacher follows sooner")
    ramp: int = Field(
        0,
        ge=0,
        description="steps in which the weight of all losses on unlabelled images rises from 0: in the first ones the "
        "teacher is poor (Tarvainen and Valpola, NeurIPS 2017)",
    )
    weak_weight: Float = Field(1.0, ge=0, description="weight of the cross-entropy on the weak view")
    strong_weight: Float = Field(1.0, ge=0, description="weight of the cross-entropy on the strong view")
    contrast_weight: Float = Field(1.0, ge=0, description="weight of the contrastive loss on each view")
    strong_views: int = Field(1, ge=1, le=2, description="strong views of an unlabelled image, each with strong_weight")
    strong_pass: Literal["together", "own"] = Field(
        "together",
        description="own: a forward pass of their own for strong views, so that BatchNorm normalises them separately",
    )
    complementary: bool = Field(
        False,
        description="two strong views in a pass of their own: one keeps the feature channels that the other loses "
        "(UniMatch V2)",
    )
    average: Literal["kept", "all"] = Field(
        "kept", description="divide the pseudo-label loss by the kept pixels or by all non-void ones"
    )
    temperature: Float = Field(0.5, gt=0, description="of the contrastive loss")
    windows: int = Field(8, ge=1, description="random windows of the feature map for the contrastive loss")
    window: int = Field(32, ge=1, description="side of such a window, feature pixels (at stride 4)")

    @model_validator(mode="after")
    def _something_is_learnt(self) -> Self:
        if not (self.labeled or self.unlabeled):
            raise ValueError("labeled and unlabeled are both off: nothing to learn from")
        if self.unlabeled and not any((self.weak_weight, self.strong_weight, self.contrast_weight)):
            raise ValueError("all weights of the unlabelled part are 0: set unlabeled to false instead")
        if self.class_share is not None and self.filter in ("none", "oracle"):
            raise ValueError(f"class_share has no meaning with filter: {self.filter}; set class_share to null")
        if self.adaptive and (self.class_share is not None or self.filter not in ("eln", "confidence", "views")):
            raise ValueError("adaptive lowers the threshold of the filters eln, confidence and views alone")
        if self.complementary and (self.strong_views, self.strong_pass) != (2, "own"):
            raise ValueError("complementary needs strong_views: 2 and strong_pass: own")
        return self

    def rule(self) -> str:
        """Which pixels the filter keeps, in words."""
        gate = "; images of plausible class shares alone" if self.image_gate == "class_shares" else ""
        return self._pixel_rule() + gate

    def _pixel_rule(self) -> str:
        if self.filter in ("none", "oracle"):
            return {"none": "no filter", "oracle": "oracle: the right pixels"}[self.filter]
        by = {"eln": "ELN's trust", "confidence": "max softmax", "views": "max softmax of the views' mean"}
        if self.class_share is not None:
            return f"{by.get(self.filter, 'entropy')}: the surest {self.class_share:.0%} of each predicted class"
        if self.filter == "entropy":
            return f"entropy: the lowest {self.threshold:.0%} of the pixels"
        lower = ", less for classes that are less sure" if self.adaptive else ""
        return f"{by[self.filter]} of at least {self.threshold:g}{lower}"


class Evaluation(Section):
    """Measuring, at each image's own size."""

    pixels: int = Field(
        20000,
        ge=100,
        description="pixels an image, drawn by a fixed seed, that AUROC and AUPR are computed on",
    )
    images: int = Field(0, ge=0, description="validation images to use; 0 for all")
    size: list[Annotated[int, Field(ge=16)]] = Field(
        [],
        description="height and width that image and mask are resized to; the official protocol on VOC is [505, 505]; "
        "empty: the image's own size",
    )
    window: list[Annotated[int, Field(ge=16)]] = Field(
        [], description="height and width of the windows that larger images are predicted in; empty: all at once"
    )
    overlap: Float = Field(0.5, ge=0, le=0.9, description="share of a window that its neighbour sees too")
    scales: list[Annotated[Float, Field(ge=0.1, le=4)]] = Field(
        [1.0], min_length=1, max_length=8, description="factors of the image's size whose predictions are averaged"
    )
    flip: bool = Field(False, description="average with the prediction of the mirrored image")
    bound_steps: int = Field(
        0,
        ge=0,
        description="for study: steps in which a copy of ELN learns from the truth of the unlabelled images, to see "
        "how many errors could be found; 0 for none; left out where no unlabelled image has a mask",
    )
    every: int = Field(500, ge=1, description="steps between measurements on the held-out images (data.held_out)")

    @field_validator("size", "window")
    @classmethod
    def _two_sides_or_none(cls, sides: list[int]) -> list[int]:
        if len(sides) not in (0, 2):
            raise ValueError("should be height and width, such as [505, 505], or empty")
        return sides


class Run(Section):
    """Where a run lives and how it is carried out."""

    folder: str = Field("runs/shapes", min_length=1, description="run folder; relative paths start at the project")
    start_from: str = Field(
        "",
        description="run folder whose finished stages are taken over where the changed knobs do not touch them, and "
        "with whose student stage 1 begins where labels were added; with the same folder in run.folder, the new run "
        "gets a folder beside it, named after what changed",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="draws weights, batches and views")
    control: bool = Field(
        True, description="also go on with stage 1 on labels alone for as many steps as stages 2 and 3 have"
    )
    processes: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="processes that train a stage together; auto: one a GPU, as far as they divide the batches"
    )
    tracker: Literal["none", "tensorboard", "wandb"] = Field("none", description="where the log is sent, too")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="auto: bf16 where the GPU, or the processor by AVX-512 or AMX, supports it (by AMX alone for "
        "depthwise convolutions); else fp16 or fp32",
    )
    channels_last: bool | Literal["auto"] = Field(
        "auto",
        description="layout of images and weights; auto: on a GPU only; on processors some networks of depthwise "
        "convolutions are faster with it, too",
    )
    log_every: int = Field(10, ge=1, description="steps between lines of metrics.jsonl")
    save_every: int = Field(200, ge=1, description="steps between checkpoints")
    keep: int = Field(2, ge=1, le=100, description="checkpoints of a stage that are kept; older ones are deleted")
    show: int = Field(4, ge=1, le=16, description="images in a figure")


class Params(Section):
    """One experiment."""

    data: Data = Data()
    views: Views = Views()
    model: Model = Model()
    optimizer: Optimizer = Optimizer()
    supervised: Supervised = Supervised()
    error_localization: ErrorLocalization = ErrorLocalization()
    semi_supervised: SemiSupervised = SemiSupervised()
    evaluation: Evaluation = Evaluation()
    run: Run = Run()

    @model_validator(mode="after")
    def _views_are_there(self) -> Self:
        if self.semi_supervised.filter == "views" and not self.model.eln_scales:
            raise ValueError("semi_supervised.filter: views needs model.eln_scales, such as [1.25]")
        return self

    def flat(self) -> dict[str, Any]:
        """Every knob as `section.knob`."""
        sections = self.model_dump().items()
        return {f"{section}.{knob}": value for section, knobs in sections for knob, value in knobs.items()}

    def changed(self) -> list[str]:
        """`section.knob=value` of what differs from the defaults, but for the run's folder."""
        defaults = Params().flat() | {"run.folder": self.run.folder}
        return [f"{knob}={value}" for knob, value in self.flat().items() if value != defaults[knob]]
