"""The contract with verl runs in an environment of its own: `make verl-env`, `make test-verl`."""

import importlib.util

if importlib.util.find_spec("verl") is not None:
    import torch

    # torchvision does not load beside the CPU build of torch unless its operators are declared.
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
