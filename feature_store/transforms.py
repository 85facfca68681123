"""On-demand transforms: plain functions of features and request, run by the same code for training and for serving."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from feature_store.definitions import Array, Field, hash_of
from feature_store.exceptions import DefinitionError, RequestError

Function = Callable[..., Array]


@dataclass(frozen=True)
class OnDemandTransform:
    """A feature that is computed at the request.

    Attributes:
        output: name and type of the feature.
        inputs: what the function takes, in its order: full names of features (``view__field``), ``view__row_age``
            (seconds, NaN where there is no row), ``request_time`` (microseconds since 1970), or columns of the request.
        function: of arrays ``[n, ...]``, one for each input, to an array ``[n, ...]``; it sees all rows at once and
            must treat each alone.
        version: raised whenever the function changes.
    """

    output: Field
    inputs: tuple[str, ...]
    function: Function
    version: int = 1

    @property
    def name(self) -> str:
        return self.output.name

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"

    @cached_property
    def source(self) -> str:
        """The function without comments, annotations and docstring.

        Raises:
            DefinitionError: it stands in no file, or is not a plain function.
        """
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(self.function)))
        except (OSError, TypeError, SyntaxError):
            tree = ast.parse("")
        if not (tree.body and isinstance(tree.body[0], ast.FunctionDef)):
            raise DefinitionError(
                f"The source of transform {self.name} cannot be read.", "Write it as a plain function in a file."
            )
        function = tree.body[0]
        function.decorator_list, function.returns = [], None
        for argument in function.args.args:
            argument.annotation = None
        if ast.get_docstring(function) is not None:
            function.body = function.body[1:]
        return ast.unparse(function)

    @property
    def meaning(self) -> dict[str, Any]:
        output = self.output.model_dump(mode="json", include={"dtype", "shape"})
        return {"inputs": list(self.inputs), "output": output, "source": self.source.splitlines()}

    @property
    def hash(self) -> str:
        return hash_of(self.meaning)

    def __call__(self, values: Mapping[str, Array], rows: int) -> Array:
        """The feature ``[rows, *shape]``.

        Raises:
            RequestError: an input is missing, or the function returns another shape.
        """
        absent = [name for name in self.inputs if name not in values]
        if absent:
            raise RequestError(f"Transform {self.name} needs {absent[0]}.", "Give it with the labels or the request.")
        found = np.asarray(self.function(*(values[name] for name in self.inputs)))
        expected = (rows, *self.output.shape)
        if found.shape != expected:
            raise RequestError(
                f"Transform {self.name} returned shape {found.shape} for {rows} rows.", f"Return {expected}."
            )
        return found.astype(self.output.dtype, copy=False)


def on_demand(inputs: Sequence[str], output: Field, version: int = 1) -> Callable[[Function], OnDemandTransform]:
    """Turn a plain function into an :class:`OnDemandTransform`."""
    return lambda function: OnDemandTransform(output, tuple(inputs), function, version)
