"""Line detectors with random weights, in the layouts of the public files."""

import warnings
from collections import OrderedDict
from pathlib import Path

import torch

ANNOTATORS = "lllyasviel/Annotators"


def write_detectors(folder: Path) -> Path:
    """`lllyasviel/Annotators`: half precision, names of several cards, plain states."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from controlnet_aux.hed import ControlNetHED_Apache2
        from controlnet_aux.lineart import Generator
        from controlnet_aux.pidi.model import pidinet

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    hed = OrderedDict(ControlNetHED_Apache2().half().state_dict())
    torch.save(hed, folder / "ControlNetHED.pth")
    pidi = {f"module.{name}": tensor for name, tensor in pidinet().state_dict().items()}
    torch.save({"epoch": 19, "state_dict": pidi}, folder / "table5_pidinet.pth")
    torch.save(Generator(3, 1, 3).state_dict(), folder / "sk_model.pth")
    return folder
