"""What the torch form of a frozen step is: a module with the arrays of the step."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from calibrate.ops import Op


class KeepsItsTypes(nn.Module):
    """A module that moves between devices, and whose numbers stay what they are.

    ``.half()``, ``.bfloat16()`` and ``.double()`` of the model around it would round thresholds,
    and with them decisions.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def moved_only(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            return result if result.dtype == tensor.dtype else tensor.to(result.device)

        return super()._apply(moved_only, recurse)  # type: ignore[no-untyped-call]


class Twin(KeepsItsTypes):
    """An op as a module: arrays are buffers of its state, numbers lie in its extra state.

    Parameters
    ----------
    op : Op
    trainable : bool
        Whether its floating point arrays are parameters.
    """

    def __init__(self, op: Op, *, trainable: bool = False) -> None:
        super().__init__()
        self._op_type = type(op)
        self.numbers = op.numbers()
        self._array_names = tuple(op.arrays())
        for name, array in op.arrays().items():
            tensor = torch.from_numpy(array.copy())
            if trainable and tensor.is_floating_point():
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)
        self.derive(op)

    @property
    def wire_name(self) -> str:
        """The name of the step in rule files."""
        return self._op_type.wire_name

    def derive(self, op: Op) -> None:
        """Make what `op`, the step as it is now, implies: buffers outside the state."""

    def derived(self, name: str, tensor: Tensor) -> None:
        """Keep a buffer that is not part of the state, where the others lie."""
        devices = {own.device for own in (*self.buffers(), *self.parameters())}
        on = devices.pop() if len(devices) == 1 else torch.device("cpu")
        self.register_buffer(name, tensor.to(on), persistent=False)

    def op(self) -> Op:
        """The frozen step with the numbers that the module holds now.

        Raises
        ------
        ValueError
            If they are none that such a step can have.
        """
        arrays = {n: getattr(self, n).detach().cpu().numpy() for n in self._array_names}
        return self._op_type(**arrays, **self.numbers)

    def get_extra_state(self) -> Tensor:
        """The name of the step and its numbers, as the bytes of a JSON text.

        A tensor, so that a state of tensors alone stays one.
        """
        text = json.dumps({"op": self.wire_name, **self.numbers}, sort_keys=True)
        return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Any) -> None:
        """Take over the numbers of a step of the same kind.

        Raises
        ------
        ValueError
            If it is of another kind, or no such state.
        """
        try:
            found = json.loads(bytes(cast(Tensor, state).cpu().tolist()))
            name = found.pop("op")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError("the state of a decision layer must hold its steps") from error
        if name != self.wire_name or found.keys() != self.numbers.keys():
            raise ValueError(
                f"the state must be that of a step {self.wire_name!r}, got {name!r}: make "
                "the layer from the rule file first"
            )
        self.numbers = found
