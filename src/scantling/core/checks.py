"""What functions on arrays ask of their arguments: one of some names, so many axes, values in a range.

Each check takes its names from the call it stands in, so that a sentence says which argument was wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scantling.core.errors import ArrayError, SettingsError


def check_choice(value: object, choices: Iterable[object], *, argument: str) -> None:
    """Refuse a name that is none of `choices`.

    Raises:
        SettingsError: with the names that there are.
    """
    names = tuple(choices)
    if value not in names:
        raise SettingsError(f"{argument}: found {value!r}; expected one of {', '.join(map(str, names))}")


def check_input(
    shape: Sequence[int], *, channels: int, spatial_dims: int, what: str = "the image", argument: str = "in_channels"
) -> None:
    """Refuse what a network cannot read: another number of axes or of channels than it was made for.

    Args:
        shape: of the tensor, (B, C, *S) expected.
        channels: C.
        spatial_dims: the number of axes of S.
        what: the tensor is.
        argument: of the network, that says C.

    Raises:
        ArrayError: with the channels or the axes that were found and expected.
    """
    axes = "B, C, H, W" if spatial_dims == 2 else "B, C, D, H, W"
    if len(shape) != 2 + spatial_dims:
        raise ArrayError(f"{what} has the shape {tuple(shape)}; expected ({axes}) with {channels} channels")
    if shape[1] != channels:
        raise ArrayError(
            f"{what} has {shape[1]} channels, shape {tuple(shape)}; the network was made for {channels} ({argument})"
        )


def spatial_axis(shape: Sequence[int], spatial_dims: int | None, *, what: str = "the mask") -> int | None:
    """Which axis of an array without batch is its one channel: None where (*S) is all that there is.

    Args:
        shape: (H, W) or (D, H, W); (1, H, W), (H, W, 1), (1, D, H, W) or (D, H, W, 1) where `spatial_dims` is said.
        spatial_dims: 2 or 3; None where it follows from the shape.

    Raises:
        ArrayError: the shape has two readings and `spatial_dims` is not said, or it does not fit what is said.
    """
    if spatial_dims not in (None, 2, 3):
        raise ArrayError(f"spatial_dims: found {spatial_dims}; expected 2 or 3")
    ends = [axis for axis in (0, len(shape) - 1) if len(shape) and shape[axis] == 1]
    if spatial_dims is None:
        if len(shape) == 3 and ends:
            raise ArrayError(
                f"{what} has the shape {tuple(shape)}: a 2-D image with its one channel, or a volume of one slice; say "
                "spatial_dims=2 or spatial_dims=3"
            )
        spatial_dims = len(shape)
    if spatial_dims in (2, 3) and len(shape) == spatial_dims:
        return None
    if spatial_dims in (2, 3) and len(shape) == spatial_dims + 1 and ends:
        return ends[0]
    axes = {2: "(H, W)", 3: "(D, H, W)"}.get(spatial_dims, "(H, W) or (D, H, W)")
    raise ArrayError(f"{what} has the shape {tuple(shape)}; expected {axes}: one image, one class")
