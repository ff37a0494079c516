"""Reading and writing in compiled loops with the promise that the two never meet.

A loop that reads thirteen rows and writes two is only vectorised behind a test that no written row overlaps a read
one. For rows of a few hundred pixels these tests take longer than the arithmetic. LLVM takes a promise instead, as
metadata on the loads and stores; Numba has no word for it, so these two intrinsics say it.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic


def apart(name: str) -> tuple[Any, Any]:
    """A pair `read(array, at)`, `write(array, at, value)` for flat arrays and unsigned positions.

    The promise: in the whole program no array that this `read` reads shares memory with an array that this `write`
    writes. Each name is one promise. Positions are not checked.
    """

    def scope(builder: Any) -> Any:
        module = builder.module
        return module.add_metadata([module.add_metadata([name, module.add_metadata(["scantling.mending"])])])

    def place(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.gep(array.data, [arguments[1]], inbounds=True)

    @intrinsic
    def read(typing: Any, array: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            loaded = builder.load(place(context, builder, signature, arguments), align=array.dtype.bitwidth // 8)
            loaded.set_metadata("noalias", scope(builder))
            return loaded

        return array.dtype(array, at), generate

    @intrinsic
    def write(typing: Any, array: Any, at: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            cast = context.cast(builder, arguments[2], value, array.dtype)
            target = place(context, builder, signature, arguments)
            stored = builder.store(cast, target, align=array.dtype.bitwidth // 8)
            stored.set_metadata("alias.scope", scope(builder))
            return context.get_dummy_value()

        return types.none(array, at, value), generate

    return read, write
