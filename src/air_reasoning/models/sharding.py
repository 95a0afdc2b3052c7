"""FSDP2: weights, gradients and averages of one model spread over processes.

torch's ``fully_shard`` on every text layer and on the whole model. What leaves this file is plain
tensors: states are gathered when they are saved or given to the sampler, and spread when loaded.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")


def shard(model: Any) -> None:
    """Spread ``model`` over all processes, in place. Call before an optimiser is built.

    Afterwards the model is called only through ``call_sharded``.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for layer in model.model.language_model.layers:
        fully_shard(layer)
    fully_shard(model)
    # Our forward is not the model's own; this makes it one that gathers the weights first.
    model.call_with_weights = MethodType(lambda self, run: run(), model)
    register_fsdp_forward_method(model, "call_with_weights")


def call_sharded(model: Any, run: Callable[[], T]) -> T:
    """``run()``, which uses ``model``, with the weights gathered if they are spread."""
    return model.call_with_weights(run) if hasattr(model, "call_with_weights") else run()


def gathered(state: Any) -> Any:
    """A nested state with every spread tensor whole, on the CPU. All processes call it together."""
    from torch.distributed.tensor import DTensor

    if isinstance(state, DTensor):
        return state.full_tensor().cpu()
    if isinstance(state, dict):
        return {key: gathered(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(gathered(value) for value in state)
    return state


def spread_like(value: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor spread as ``parameter`` is; scalars and unspread ones as they are."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value, parameter.device_mesh, parameter.placements)
