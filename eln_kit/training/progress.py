"""What a person sees of training: a progress bar, or in batch one plain line every few seconds."""

import time

from tqdm.auto import tqdm

from eln_kit.audience import person_watches

SECONDS_BETWEEN_LINES = 5
BESIDE = {"main": "loss", "kept_share": "kept", "kept_accuracy": "right", "images_per_s": "images/s"}  # the bar
LINES = 40  # before their distance grows with the time that has passed, so that days of training stay short


class Progress:
    """Shows steps done, losses, images a second and time left; or nothing, in all processes but one."""

    def __init__(self, name: str, first: int, steps: int, shown: bool = True):
        self.name, self.first, self.steps, self.shown = name, first, steps, shown
        self.began = self.last_line = time.monotonic()
        self.bar = None
        if shown and person_watches():
            self.bar = tqdm(total=steps, initial=first, desc=name, unit="step")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def step(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def show(self, record: dict) -> None:
        """A new line of the log: `record` has `step`, `images_per_s` and means of losses by name."""
        values = {name: f"{v:.3g}" for name, v in record.items() if name not in ("step", "lr")}
        if self.bar is not None:
            self.bar.set_postfix({word: values[name] for name, word in BESIDE.items() if name in values}, refresh=False)
            return
        now, done = time.monotonic(), record["step"]
        distance = max(SECONDS_BETWEEN_LINES, (now - self.began) / LINES)
        too_soon = now - self.last_line < distance and done < self.steps
        if too_soon or not self.shown:
            return
        self.last_line = now
        left = round((now - self.began) / (done - self.first) * (self.steps - done))
        shown = "  ".join(f"{name} {v}" for name, v in values.items())
        print(
            f"{self.name}  step {done}/{self.steps}  {shown}  {left // 60}:{left % 60:02} left",
            flush=True,
        )
