"""What torch itself does on the card while a wrapper is called: copies, fills and arithmetic beside the wrapper's kernels.

Owns the watching of torch's dispatcher, which sees every operation on tensors of any device, and so sees on tensors without
memory what a real call would run. Judges nothing; imports torch only when it is used.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from perfgate.store.compiled import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator

_FREE = frozenset(
    {"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"}
    | {"_unsafe_view", "record_stream", "resize_", "set_"}
)
"""Operations that touch no element, beside views, which torch marks as such."""


@contextmanager
def watch_operations() -> Iterator[list[Operation]]:
    """Within it, every operation of torch that touches elements on a card, or that would, is noted in its order.

    An operation on tensors of the host alone is none of the card's, and one on empty tensors does nothing.
    """
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    found: list[Operation] = []

    class Watch(TorchDispatchMode):  # type: ignore[misc] # torch is not followed
        def __torch_dispatch__(self, func: Any, _types: object, args: Any = (), kwargs: Any = None) -> object:  # noqa: ANN401 - torch's
            result = func(*args, **(kwargs or {}))
            name = func._schema.name.removeprefix("aten::")  # noqa: SLF001 - as torch's own modes read it
            if not func.is_view and name not in _FREE and (moved := _moved_bytes(tree_leaves((args, kwargs, result)))):
                found.append(Operation(name=name, moved_bytes=moved))
            return result

    with Watch():
        yield found


def _moved_bytes(leaves: list[Any]) -> int:
    """Bytes of all tensors on a card that an operation takes and gives; one that is changed in place counts once."""
    tensors = {id(leaf): leaf for leaf in leaves if hasattr(leaf, "element_size") and leaf.device.type != "cpu"}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
