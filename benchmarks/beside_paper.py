"""The table "paper, published params, make run" of docs/method.md and notebook 0, read from the params files."""

from collections.abc import Iterator

from eln_kit.store.params_file import load

FILES = ("voc_20_res101", "paper_shapes", "shapes")
ROWS = [  # what it is, what the paper has, the knob
    ("ELN's form", "alone, from scratch", "model.eln_form"),
    ("further views of ELN, by scale", "none", "model.eln_scales"),
    ("ratios of the auxiliary decoders", "20 and 50", "error_localization.ratios"),
    ("bound of a wrong pixel's weight", "none", "error_localization.max_weight"),
    ("ELN's output is calibrated", "no", "error_localization.calibrated"),
    ("filter of pseudo-labels", "ELN", "semi_supervised.filter"),
    ("threshold", "0.5", "semi_supervised.threshold"),
    ("lower threshold for doubtful classes", "no", "semi_supervised.adaptive"),
    ("class-balanced selection", "no", "semi_supervised.class_share"),
    ("gate by the image", "none", "semi_supervised.image_gate"),
    ("steps in which unlabelled images gain weight", "none", "semi_supervised.ramp"),
    ("weight of the weak view", "1", "semi_supervised.weak_weight"),
    ("weight of the strong view", "1", "semi_supervised.strong_weight"),
    ("weight of the contrast", "1", "semi_supervised.contrast_weight"),
    ("the loss is averaged over", "kept pixels", "semi_supervised.average"),
    ("decay of the teacher's average", "0.995", "semi_supervised.ema"),
    ("view of a labelled image", "weak", "views.labeled"),
    ("zoom of the weak view", "none", "views.scale"),
    ("segmenter's encoder", "ResNet-50 or 101", "model.encoder"),
    ("its first weights", "ImageNet", "model.encoder_weights"),
    ("ELN's encoder", "ResNet-34", "model.eln_encoder"),
    ("decoder", "DeepLabV3+", "model.decoder"),
    ("learning rate", "1e-4", "optimizer.lr"),
    ("the encoders' rate over it", "0.1", "optimizer.encoder_lr_factor"),
    ("weight decay", "1e-5", "optimizer.weight_decay"),
    ("steps of stage 1", "70 x 266", "supervised.steps"),
    ("steps of stage 2", "50 x 266", "error_localization.steps"),
    ("steps of stage 3", "380 x 266", "semi_supervised.steps"),
]


def rows() -> Iterator[list[str]]:
    flats = [load(name).flat() for name in FILES]
    for flat in flats:
        if flat["views.squeeze"]:
            flat["views.scale"] = "none: the whole image, squeezed"
    for name, paper, knob in ROWS:
        published, strict, run = (told(flat[knob]) for flat in flats)
        yield [name, paper, published, strict, run if run == strict else f"**{run}**", f"`{knob}`"]


def told(value) -> str:
    """A knob's value in a table's cell."""
    if isinstance(value, list):
        return ", ".join(map(told, value)) or "none"
    if isinstance(value, bool) or value is None:
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float | int) else str(value)


HEADER = ["", "paper, VOC", "`voc_20_res101`", "`paper_shapes`", "`make run`", "knob"]
