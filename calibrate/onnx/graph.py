"""Building a graph node by node, with the arithmetic written as it is in numpy.

A `Value` is the name of an edge with its element type; operators between values add nodes. Numbers
in between become constants of the type of the value that they meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

BOOL, INT32, INT64 = np.dtype(np.bool_), np.dtype(np.int32), np.dtype(np.int64)
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def element_type(dtype: DTypeLike) -> int:
    """The number that ONNX has for an element type."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


@dataclass(frozen=True, eq=False)
class Value:
    """An edge of the graph.

    Attributes
    ----------
    graph : Graph
    name : str
    dtype : dtype
    """

    graph: Graph
    name: str
    dtype: np.dtype[Any]

    __array_ufunc__ = None  # arrays leave operators to the value

    def _with(self, op: str, other: Any, dtype: np.dtype[Any] | None = None) -> Value:
        operand = self.graph.as_value(other, self.dtype)
        return self.graph.node(op, self, operand, dtype=self.dtype if dtype is None else dtype)

    def _after(self, op: str, other: Any) -> Value:
        operand = self.graph.as_value(other, self.dtype)
        return self.graph.node(op, operand, self, dtype=self.dtype)

    def __add__(self, other: Any) -> Value:
        return self._with("Add", other)

    def __radd__(self, other: Any) -> Value:
        return self._after("Add", other)

    def __sub__(self, other: Any) -> Value:
        return self._with("Sub", other)

    def __rsub__(self, other: Any) -> Value:
        return self._after("Sub", other)

    def __mul__(self, other: Any) -> Value:
        return self._with("Mul", other)

    def __rmul__(self, other: Any) -> Value:
        return self._after("Mul", other)

    def __truediv__(self, other: Any) -> Value:
        return self._with("Div", other)

    def __rtruediv__(self, other: Any) -> Value:
        return self._after("Div", other)

    def __neg__(self) -> Value:
        return self.graph.node("Neg", self)

    def __gt__(self, other: Any) -> Value:
        return self._with("Greater", other, BOOL)

    def __ge__(self, other: Any) -> Value:
        return self._with("GreaterOrEqual", other, BOOL)

    def __lt__(self, other: Any) -> Value:
        return self._with("Less", other, BOOL)

    def __le__(self, other: Any) -> Value:
        return self._with("LessOrEqual", other, BOOL)

    def equals(self, other: Any) -> Value:
        """Whether the cells are equal, bool."""
        return self._with("Equal", other, BOOL)

    def __and__(self, other: Value) -> Value:
        return self._with("And", other)

    def __or__(self, other: Value) -> Value:
        return self._with("Or", other)

    def __invert__(self) -> Value:
        return self.graph.node("Not", self)

    def cast(self, dtype: DTypeLike) -> Value:
        """The same numbers in another type."""
        wanted = np.dtype(dtype)
        if wanted == self.dtype:
            return self
        return self.graph.node("Cast", self, dtype=wanted, to=element_type(wanted))

    def exp(self) -> Value:
        """``e`` to the power of each cell."""
        return self.graph.node("Exp", self)

    def log(self) -> Value:
        """Natural logarithm of each cell."""
        return self.graph.node("Log", self)

    def abs(self) -> Value:
        """Size of each cell."""
        return self.graph.node("Abs", self)

    def floor(self) -> Value:
        """Each cell rounded down."""
        return self.graph.node("Floor", self)

    def ceil(self) -> Value:
        """Each cell rounded up."""
        return self.graph.node("Ceil", self)

    def sqrt(self) -> Value:
        """Square root of each cell."""
        return self.graph.node("Sqrt", self)

    def sin(self) -> Value:
        """Sine of each cell."""
        return self.graph.node("Sin", self)

    def at_least(self, other: Any) -> Value:
        """The larger of both, cell by cell."""
        return self._with("Max", other)

    def at_most(self, other: Any) -> Value:
        """The smaller of both, cell by cell."""
        return self._with("Min", other)

    def sum(self, axis: int, *, keep: bool = False) -> Value:
        """Sums along an axis."""
        return self._reduced("ReduceSum", axis, keep)

    def max(self, axis: int, *, keep: bool = False) -> Value:
        """Largest cells along an axis."""
        return self._reduced("ReduceMax", axis, keep)

    def _reduced(self, op: str, axis: int, keep: bool) -> Value:
        axes = self.graph.constant([axis], INT64)
        return self.graph.node(op, self, axes, keepdims=int(keep))

    def count(self, axis: int, *, keep: bool = False) -> Value:
        """How many cells along an axis are true, int64."""
        return self.cast(INT32).sum(axis, keep=keep).cast(INT64)

    def argmax(self, axis: int) -> Value:
        """Place of the first of the largest cells along an axis, int64."""
        return self.graph.node("ArgMax", self, dtype=INT64, axis=axis, keepdims=0)

    def running_sum(self, axis: int, *, after: bool = False) -> Value:
        """Sums up to each cell; or of those `after` it, from the last one on."""
        along = self.graph.constant(axis, INT64)
        return self.graph.node("CumSum", self, along, reverse=int(after), exclusive=int(after))

    def at(self, places: Value, axis: int = 0) -> Value:
        """What lies at these places of an axis."""
        return self.graph.node("Gather", self, places, axis=axis)

    def reshape(self, *shape: int) -> Value:
        """The same cells in another shape; one size may be -1."""
        return self.graph.node("Reshape", self, self.graph.constant(shape, INT64))

    def columns(self, some: slice) -> Value:
        """The columns from the start of a slice up to its stop."""
        ends = (self.graph.constant([end], INT64) for end in (some.start, some.stop, 1))
        return self.graph.node("Slice", self, *ends)

    def shape(self) -> Value:
        """The shape, int64."""
        return self.graph.node("Shape", self, dtype=INT64)

    def highest(self, k: Value, axis: int) -> tuple[Value, Value]:
        """The `k` highest cells along an axis, falling, and their places; lower places first."""
        values, places = self.graph.nodes(
            "TopK", [self, k.reshape(1)], [self.dtype, INT64], axis=axis, largest=1, sorted=1
        )
        return values, places


class Graph:
    """Nodes and constants that are added one by one.

    Parameters
    ----------
    n_classes : int
    prefix : str
        Of the names of all edges but the inputs and outputs.
    thresholds : str
        Name of the input for thresholds, if there is one.
    """

    def __init__(
        self, n_classes: int, prefix: str = "calibrate/", thresholds: str = "thresholds"
    ) -> None:
        self.n_classes = n_classes
        self.thresholds = thresholds
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []
        self._prefix = prefix
        self._made = 0
        self._levels: list[list[NodeProto]] = [[]]
        self._constants: dict[tuple[Any, ...], TensorProto] = {}
        self._overridable: list[TensorProto] = []

    def new_name(self, kind: str) -> str:
        """A name that no other edge has."""
        self._made += 1
        return f"{self._prefix}{kind}_{self._made}"

    def input(self, name: str, dtype: int, shape: Sequence[int | str]) -> str:
        """An input of the graph; `dtype` is the number that ONNX has for it."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def overridable(self, name: str, array: NDArray[Any]) -> Value:
        """A constant that the caller may give another value at run time."""
        self.input(name, element_type(array.dtype), array.shape)
        self._overridable.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return Value(self, name, array.dtype)

    def output(self, name: str, value: Value, shape: Sequence[int | str]) -> None:
        """An output of the graph."""
        node = helper.make_node("Identity", [value.name], [name], self.new_name(name))
        self._levels[0].append(node)
        info = helper.make_tensor_value_info(name, element_type(value.dtype), list(shape))
        self.outputs.append(info)

    def constant(self, value: Any, dtype: DTypeLike) -> Value:
        """A constant; equal ones are kept once."""
        array = np.array(value, dtype=dtype, order="C")
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(array, self.new_name("constant"))
        return Value(self, self._constants[key].name, array.dtype)

    def as_value(self, operand: Any, dtype: np.dtype[Any]) -> Value:
        """The operand if it is an edge, else a constant."""
        return operand if isinstance(operand, Value) else self.constant(operand, dtype)

    def nodes(
        self, op: str, inputs: Sequence[Value], dtypes: Sequence[np.dtype[Any]], **attributes: Any
    ) -> list[Value]:
        """Add a node with any number of outputs."""
        found = [Value(self, self.new_name(op), dtype) for dtype in dtypes]
        names = [value.name for value in found]
        node = helper.make_node(op, [v.name for v in inputs], names, names[0], **attributes)
        self._levels[-1].append(node)
        return found

    def node(
        self, op: str, *inputs: Value, dtype: np.dtype[Any] | None = None, **attributes: Any
    ) -> Value:
        """Add a node with one output, of the type of its first input unless told otherwise."""
        return self.nodes(op, inputs, [inputs[0].dtype if dtype is None else dtype], **attributes)[
            0
        ]

    def from_input(self, name: str, dtype: int) -> Value:
        """An input as float32; what uses it does not know its name."""
        source = Value(self, name, FLOAT32)
        if dtype == TensorProto.FLOAT:
            return self.node("Identity", source)
        return self.node("Cast", source, to=int(TensorProto.FLOAT))

    def where(self, condition: Value, one: Any, other: Any) -> Value:
        """`one` where the condition holds, else `other`; one of both is a value."""
        dtype = next(part.dtype for part in (one, other) if isinstance(part, Value))
        parts = (self.as_value(one, dtype), self.as_value(other, dtype))
        return self.node("Where", condition, *parts, dtype=dtype)

    def is_minus_infinity(self, value: Value) -> Value:
        """Whether the cells are ``-inf``."""
        return value.equals(-np.inf)

    def zeros(self, shape: Value, dtype: np.dtype[Any]) -> Value:
        """Zeros of a shape."""
        zero = numpy_helper.from_array(np.zeros(1, dtype))
        return self.node("ConstantOfShape", shape, dtype=dtype, value=zero)

    def count_up(self, start: Any, stop: Value) -> Value:
        """Whole numbers from `start` up to before `stop`, both scalars."""
        first, one = self.as_value(start, INT64), self.constant(1, INT64)
        return self.node("Range", first, stop, one, dtype=INT64)

    def joined(self, values: Sequence[Value], axis: int) -> Value:
        """Values one behind the other."""
        return self.node("Concat", *values, axis=axis)

    def scattered(self, into: Value, places: Value, values: Value, axis: int) -> Value:
        """`into` with the values at these places of an axis."""
        return self.node("ScatterElements", into, places, values, axis=axis)

    def loop(
        self,
        turns: Value,
        state: Sequence[Value],
        body: Callable[[Value, tuple[Value, ...]], tuple[Value | None, Sequence[Value]]],
    ) -> tuple[Value, ...]:
        """The state after a number of turns, or after the first whose body says to stop.

        Parameters
        ----------
        turns : int64, ()
        state : sequence of Value
        body : callable
            Given the number of the turn and the state, whether to go on (None: always) and the
            next state.
        """
        turn, going = Value(self, self.new_name("turn"), INT64), self.new_name("going")
        held = tuple(Value(self, self.new_name("state"), value.dtype) for value in state)
        self._levels.append([])
        go_on, following = body(turn, held)
        if go_on is None:
            go_on = self.constant(True, BOOL)
        made = [self.node("Identity", value) for value in (go_on, *following)]
        infos = [_info(turn, ()), _info(Value(self, going, BOOL), ()), *map(_info, held)]
        graph = helper.make_graph(
            self._levels.pop(), self.new_name("loop"), infos, [_info(value) for value in made]
        )
        inputs = [turns, self.constant(True, BOOL), *state]
        return tuple(self.nodes("Loop", inputs, [value.dtype for value in state], body=graph))

    def either(
        self,
        condition: Value,
        one: Callable[[], Sequence[Value]],
        other: Callable[[], Sequence[Value]],
    ) -> tuple[Value, ...]:
        """What `one` gives if the condition, a scalar, holds, else what `other` gives."""
        then, dtypes = self._branch(one)
        otherwise, _ = self._branch(other)
        branches = {"then_branch": then, "else_branch": otherwise}
        return tuple(self.nodes("If", [condition], dtypes, **branches))

    def _branch(self, body: Callable[[], Sequence[Value]]) -> tuple[GraphProto, list[Any]]:
        self._levels.append([])
        made = [self.node("Identity", value) for value in body()]
        graph = helper.make_graph(
            self._levels.pop(), self.new_name("branch"), [], [_info(value) for value in made]
        )
        return graph, [value.dtype for value in made]

    def proto(self, name: str, doc: str) -> GraphProto:
        """The graph as it is written to a file."""
        constants = [*self._overridable, *self._constants.values()]
        return helper.make_graph(
            self._levels[0], name, self.inputs, self.outputs, constants, doc_string=doc
        )


def _info(value: Value, shape: tuple[()] | None = None) -> ValueInfoProto:
    """Name and type of an edge at the border of a body, its shape left open unless given."""
    return helper.make_tensor_value_info(value.name, element_type(value.dtype), shape)
