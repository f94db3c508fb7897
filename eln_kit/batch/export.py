"""A run's networks as one graph that runs without the kit, and a model card beside it."""

import io
import json
import warnings
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from timm.layers import AvgPool2dSame, Conv2dSame, to_2tuple
from timm.layers.pool2d_same import MaxPool2dSame
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from eln_kit.batch.templating import rendered
from eln_kit.evaluation import segmentation
from eln_kit.evaluation.segmentation import validation_items
from eln_kit.evaluation.trust import error_detection
from eln_kit.faults import Fault
from eln_kit.models import ErrorLocalizer, Segmenter
from eln_kit.models.features import upsample
from eln_kit.paths import write_whole, writing
from eln_kit.store.experiment import Experiment
from eln_kit.store.params_file import build
from eln_kit.tools.model import open_run

FILES = {"onnx": "model.onnx", "torch": "model.pt2"}
ABOUT, CARD = "model.json", "README.md"
EXAMPLE, OTHER = (2, 3, 96, 128), (75, 110)  # what a graph is traced with, and what an ONNX one is checked with
NEAR = 1e-4
PLAIN = {Conv2dSame: nn.Conv2d, AvgPool2dSame: nn.AvgPool2d, MaxPool2dSame: nn.MaxPool2d}  # padded as in TensorFlow


class Graph(nn.Module):
    """Images, uint8 `B 3 H W` -> class logits `B C H W` and trust, ELN's calibrated sigmoid, `B H W`, float in 0..1.

    Normalisation and ELN's further views are inside; always in evaluation mode.
    """

    def __init__(self, segmenter: Segmenter, eln: ErrorLocalizer):
        super().__init__()
        self.segmenter, self.eln = deepcopy(segmenter), deepcopy(eln)
        self.requires_grad_(False).eval()
        for parent in list(self.modules()):
            for name, child in parent.named_children():
                if type(child) in PLAIN:
                    setattr(parent, name, _padded(child))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        seen = image.float() / 255
        logits = self.segmenter.predict(seen)
        return logits, self.eln(seen, logits, self.eln.further(self.segmenter, seen))[:, 0].sigmoid()


def _padded(layer: nn.Module) -> nn.Sequential:
    """The same where the side is a multiple of the stride, as `Encoder` makes it, without arithmetic on sizes."""
    sides = zip(*(to_2tuple(getattr(layer, n, 1)) for n in ("kernel_size", "dilation", "stride")), strict=True)
    high, wide = (max((kernel - 1) * dilation + 1 - stride, 0) for kernel, dilation, stride in sides)
    filled = float("-inf") if isinstance(layer, nn.MaxPool2d) else 0.0
    border = nn.ConstantPad2d((wide // 2, wide - wide // 2, high // 2, high - high // 2), filled)
    layer.__class__ = PLAIN[type(layer)]
    return nn.Sequential(border, layer)


def export(run: Path, to: str, out: Path) -> Path:
    """Write the graph (`Graph`), `model.json` with classes and colours, and a model card; gives the graph's file.

    Batch, height and width are free. The ONNX graph is compared with the networks once, by onnxruntime.

    Args: to: `onnx`, or `torch` for `torch.export`, which `eln_kit.load` and `torch.export.load` read.

    Raises:
        ParamsError, CheckpointError: no run, or stage 2 has not finished.
        Fault: the networks cannot be exported, what that takes is not installed, or `out` cannot be written.
    """
    experiment, stage, segmenter, eln = open_run(run)
    graph, file = Graph(segmenter, eln).cpu(), out / FILES[to]
    print(f"{run}: tracing the networks and writing them as {to}: a minute or more", flush=True)
    about = json.dumps(_about(experiment), indent=1)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            content = {"onnx": onnx, "torch": saved}[to](traced(graph), about)
    except ImportError as error:
        raise Fault(f"--to {to}: {error.name} is not installed; pip install 'eln-kit[export]'") from None
    except Exception as error:  # the exporters raise many kinds
        reason = " ".join(str(error).split())[:200]
        raise Fault(f"{run}: its networks cannot be exported to {to} ({reason}); try the other format") from None
    if to == "onnx":
        print("comparing what onnxruntime says with the networks", flush=True)
        check(content, graph)
    with writing(out, "; choose another --out"):
        write_whole(file, content)
        write_whole(out / ABOUT, about)
        write_whole(out / CARD, card(experiment, stage, segmenter, eln, to))
    return file


def traced(graph: Graph) -> ExportedProgram:
    free = dict.fromkeys((0, 2, 3), Dim.DYNAMIC)
    example = torch.zeros(EXAMPLE, dtype=torch.uint8)
    return torch.export.export(graph, (example,), dynamic_shapes={"image": free}, strict=False)


def saved(program: ExportedProgram, about: str) -> bytes:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={ABOUT: about})
    return file.getvalue()


def onnx(program: ExportedProgram, about: str) -> bytes:
    """The graph with input `image` and outputs `logits` and `trust`; `about` is in its metadata."""
    import onnx as _  # noqa: F401

    made = torch.onnx.export(
        program, input_names=["image"], output_names=["logits", "trust"], opset_version=18, dynamo=True, verbose=False
    )
    assert made is not None
    made.model.metadata_props[ABOUT] = about
    return made.model_proto.SerializeToString()


def check(content: bytes, graph: Graph) -> None:
    """Refuse an ONNX graph that says something else than the networks at another size."""
    import onnxruntime

    coarse = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    image = (upsample(coarse, OTHER) * 255).byte()
    logits, trust = onnxruntime.InferenceSession(content).run(None, {"image": image.numpy()})
    with torch.no_grad():
        wanted, wanted_trust = (maps.numpy() for maps in graph(image))
    alike = logits.argmax(1) == wanted.argmax(1)  # where two classes are as likely, ELN may judge another one
    far = max(np.abs(logits - wanted).max(), np.abs(trust - wanted_trust)[alike].max())
    if not (far <= NEAR * max(1, np.abs(wanted).max()) and alike.mean() > 0.99):
        raise Fault(f"--to onnx: onnxruntime's logits or trust are {far:.2g} off; export --to torch instead")


def card(experiment: Experiment, stage: str, segmenter: Segmenter, eln: ErrorLocalizer, to: str) -> str:
    """A model card as Hugging Face has it, with measures on the validation images where they are at hand."""
    as_exported = {"evaluation.scales": [1.0], "evaluation.flip": False}  # the graph has one view
    dataset, params = experiment.dataset, build(experiment.params.model_dump(), as_exported)
    measured, detectors = None, []
    if dataset.val:
        print(f"measuring {len(validation_items(dataset, params))} validation images for the model card", flush=True)
        measured = segmentation.measure(segmenter, dataset, params)
        detectors = error_detection(segmenter, eln, dataset, params)
    shown: dict = {"dataset": dataset, "measured": measured, "detectors": detectors, "params": params, "stage": stage}
    shown |= {"images": len(validation_items(dataset, params)), "file": FILES[to], "to": to}
    return rendered("card.md", experiment.folder, name=experiment.folder.name, **shown)


def _about(experiment: Experiment) -> dict:
    """What `eln_kit.load` has to know beside the graph."""
    params, dataset = experiment.params, experiment.dataset
    kept = {
        "data": params.data.model_dump(include={"resize", "depth", "bands"}),
        "evaluation": params.evaluation.model_dump(include={"size", "window", "overlap"}),
        "semi_supervised": params.semi_supervised.model_dump(include={"threshold"}),
    }
    return {"classes": dataset.classes, "colors": dataset.colors.tolist(), "params": kept}
