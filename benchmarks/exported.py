"""The exported ONNX graph by onnxruntime beside the kit's networks: images a second, logits and trust, one by one.

    python benchmarks/exported.py RUN model/model.onnx [--size 360 480] [--images 20]

In turns, the median of 5 rounds, as many threads as there are cores.
"""

import argparse
import time
from statistics import median

import onnxruntime
import torch

from eln_kit.batch.export import Graph
from eln_kit.tools.model import open_run

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("model")
    parser.add_argument("--size", nargs=2, type=int, default=[360, 480])
    parser.add_argument("--images", type=int, default=20)
    options = parser.parse_args()
    _, _, segmenter, eln = open_run(options.run)
    graph, session = Graph(segmenter, eln).cpu(), onnxruntime.InferenceSession(options.model)
    images = torch.randint(0, 256, (options.images, 1, 3, *options.size), dtype=torch.uint8)
    ask = {"the kit": graph, "onnxruntime": lambda image: session.run(None, {"image": image.numpy()})}
    taken: dict[str, list[float]] = {name: [] for name in ask}
    with torch.no_grad():
        for number in range(ROUNDS + 1):
            for name, call in ask.items():
                begin = time.perf_counter()
                for image in images:
                    call(image)
                if number:  # the first warms up
                    taken[name].append(time.perf_counter() - begin)
    for name, seconds in taken.items():
        print(f"{name:<12} {options.images / median(seconds):.1f} images a second")


if __name__ == "__main__":
    main()
