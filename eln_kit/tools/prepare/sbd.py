"""The larger training set of Hariharan et al. (SBD, ICCV 2011): its ids, and its .mat files as VOC's masks."""

import shutil
from pathlib import Path

from PIL import Image
from torchvision.datasets import SBDataset

from eln_kit.data.palette import bit_colors
from eln_kit.faults import DataError
from eln_kit.tools.prepare.files import beside, in_threads


class SbdMasks(SBDataset):
    """Masks without images: SBD's images are VOC's, and are not unpacked."""

    def mask(self, id: str) -> Image.Image:
        """Values 0 to 20.

        Raises:
            DataError: names the .mat file that cannot be read.
        """
        file = Path(self.root, "cls", f"{id}.mat")
        try:
            return self._get_target(str(file))
        except Exception as error:  # scipy raises whatever it stumbles over in a broken file
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{file}: cannot be read ({reason}); delete it and run this again") from None


def sbd_ids(folder: Path) -> set[str]:
    """All ids of SBD's train.txt and val.txt."""
    return {Path(mask).stem for part in ("train", "val") for mask in SBDataset(folder, part).masks}


def write_masks(ids: list[str], target: Path, own: dict[str, Path], sbd: Path) -> None:
    """Write `target/<id>.png` for every id: a copy of its `own` mask if it has one, else SBD's, in VOC's colours.

    Raises:
        DataError: names the .mat file that cannot be read.
    """
    masks = SbdMasks(sbd, mode="segmentation") if set(ids) - own.keys() else None
    colors = bit_colors(256).ravel().tolist()

    def write(id: str) -> None:
        with beside(target / f"{id}.png") as path:
            if masks is None or id in own:
                shutil.copyfile(own[id], path)
            else:
                mask = masks.mask(id)
                mask.putpalette(colors)
                mask.save(path, format="PNG")

    in_threads(write, ids, target.name)
