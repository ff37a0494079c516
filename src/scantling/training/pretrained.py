"""First weights from a trained model: what fits is loaded, first layers and heads are exchanged.

What fits is decided by names: of tensors, of channels and of classes. All of it is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scantling.contract.method import Method, build
from scantling.core.errors import ScantlingError, SettingsError
from scantling.core.samples import Traits
from scantling.data.contents import count, some

LEAST = 0.1
"""The share of its parameters that a method has to load; ours."""
REDUCED = 0.1
"""The factor on the learning rate of loaded weights beside others that begin anew; ours, as is usual."""
PARTS = {
    "channels": ("the first layer", "channel", "channels"),
    "classes": ("the head", "class", "classes"),
    "image_classes": ("the classifier", "image class", "image classes"),
}
"""Attributes of traits: what the weights that depend on them are called, and one and several of their names."""
BACKGROUND = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pretrained:
    """What a method has loaded.

    Attributes:
        run: the run of the starting model.
        base: the starting model, its channels and classes named as in the new data.
        loaded: the tensors that were loaded, whole or in part.
        new: the tensors that begin anew, or were loaded in part.
        rate: the factor on the learning rate of the others.
        summary: all that in one line.
    """

    run: Path
    base: Method
    loaded: tuple[str, ...]
    new: tuple[str, ...]
    rate: float
    summary: str

    @property
    def plan(self) -> dict[str, object] | None:
        """What a resume must repeat; None where all weights were loaded and learn at the full rate."""
        return {"rate": self.rate, "new": list(self.new)} if self.new or self.rate != 1 else None

    def rates(self, method: Method) -> dict[str, float]:
        """The factor on the learning rate of each parameter that was loaded, by name."""
        kept = {*self.loaded} - {*self.new}
        return {name: self.rate for name, _ in method.named_parameters() if name in kept}


def load_pretrained(
    method: Method, base: Method, *, run: Path, rate: float | None, inherited: Sequence[str]
) -> Pretrained:
    """Load into a fresh method what fits of a trained one.

    Tensors of equal name and shape are loaded. Where channels or classes differ, those of equal names keep their
    weights; a new channel beside known ones begins at 0, so that the model begins with the answer of the old one; a
    new class begins anew. Where no name is equal but their number is, they are the same by their order. The models that
    a method is built on are loaded as they are in the trained one, or not at all. What a teacher follows, which is not
    saved with a model, begins with the weights of the teacher.

    Args:
        run: of the starting model, for sentences.
        rate: the factor on the learning rate of what is loaded; None: 1 where all is, or comes from another method
            (`Method.begins_with`), which has not learnt this task; else `REDUCED`.
        inherited: the settings that the method has from it.

    Raises:
        SettingsError: it is another method, or too little of it fits.
    """
    base.traits = _renamed(base.traits, method.traits)
    own, given = method.model_state(), base.model_state()
    for name, source in _followed(method).items():
        if name not in own and source in own:
            own[name] = method.state_dict()[name]
            given |= {name: given[source]} if source in given else {}
    differing = [part for part in PARTS if _outputs(base.traits, part) != _outputs(method.traits, part)]
    used = [name for name in own if name.startswith("uses.")]
    if differing or not all(name in given and given[name].shape == own[name].shape for name in used):
        own = {name: tensor for name, tensor in own.items() if name not in used}  # those of --use stay
    exchanged = {part: _dependent(method, part) for part in differing}
    loaded, new, kept = dict[str, Tensor](), list[str](), dict.fromkeys(differing, False)
    for name, tensor in own.items():
        parts = [part for part in differing if name in exchanged[part]]
        found = given.get(name)
        if len(parts) == 1 and found is not None:
            names = _names(base.traits, parts[0]), _names(method.traits, parts[0])
            merged = _merged(found, tensor, names, axis=exchanged[parts[0]][name], classes=parts[0] != "channels")
            if merged is not None:
                loaded[name], kept[parts[0]] = merged, True
                new.append(name)
                continue
        if found is None or found.shape != tensor.shape:
            new.append(name)
        else:
            loaded[name] = found
    sizes = {name: parameter.numel() for name, parameter in method.named_parameters() if name in own}
    share = sum(size for name, size in sizes.items() if name in loaded) / sum(sizes.values()) if sizes else 1.0
    others = base.card.name in method.begins_with
    if not (others or base.card.name == method.card.name) or share < LEAST:
        known = " or ".join((method.card.name, *method.begins_with))
        raise SettingsError(
            f"--from {run}: a model of {base.card.name} for {count(len(base.traits.channels), 'channel')} and "
            f"{count(len(base.traits.classes), 'class', 'classes')} does not fit; expected {known} with the "
            f"same architecture, of which at least {LEAST:.0%} of the parameters can be loaded (found {share:.0%}); "
            "take its settings, or leave out --from"
        )
    method.load_state_dict(loaded, strict=False)
    factor = rate if rate is not None else REDUCED if new and not others else 1.0
    summary = _summary(method, base, new, exchanged, kept, own=len(own))
    unused = sum(name not in method.state_dict() for name in given if not name.startswith("uses."))
    summary += f"; {count(unused, 'tensor')} of that model left out" if unused else ""
    summary += f"; {' and '.join(inherited)} as there" if inherited else ""
    summary += f"; loaded weights learn at {factor:g} of the rate" if factor != 1 else ""
    summary = f"--from {run}: {summary}"
    return Pretrained(run=run, base=base, loaded=tuple(loaded), new=tuple(new), rate=factor, summary=summary)


def _followed(method: Method) -> dict[str, str]:
    """The tensors of modules that a teacher follows, by name, with the names of those of the teacher."""
    names = {id(module): name for name, module in method.named_modules()}
    teachers = [each for stage in method.stages() for each in stage.teachers]
    pairs = [(names[id(each.of)], names[id(each.module)], each.of.state_dict()) for each in teachers]
    return {f"{of}.{name}": f"{teacher}.{name}" for of, teacher, state in pairs for name in state}


def _names(traits: Traits, part: str) -> tuple[str, ...]:
    names: tuple[str, ...] = getattr(traits, part)
    return names


def _outputs(traits: Traits, part: str) -> tuple[tuple[str, ...], bool]:
    """The names, and whether one of them excludes the others, from which follows how many outputs they need."""
    return _names(traits, part), part == "classes" and traits.labels is not None and traits.labels.exclusive


def _renamed(traits: Traits, new: Traits) -> Traits:
    """The traits with the names of the new ones where none is equal but their number is."""
    for part in PARTS:
        before, after = _names(traits, part), _names(new, part)
        if len(before) == len(after) and not set(before) & set(after):
            traits = _with_names(traits, part, after)
    return traits


def _with_names(traits: Traits, part: str, names: tuple[str, ...]) -> Traits:
    """The traits with other names of channels, classes or image classes; what is known of each goes along by place."""
    if part == "image_classes":
        return traits.model_copy(update={"image_classes": names})
    if part == "channels":
        known = [*traits.intensity, *traits.intensity[-1:] * max(len(names) - len(traits.intensity), 0)]
        return traits.model_copy(update={"channels": names, "intensity": tuple(known[: len(names)])})
    if traits.labels is None:
        return traits
    values = [*traits.labels.values]
    greatest = max((value for one in values for value in one), default=0)
    values += [(greatest + 1 + more,) for more in range(len(names) - len(values))]
    labels = traits.labels.model_copy(update={"names": names, "values": tuple(values)})
    return traits.model_copy(update={"labels": labels})


def _dependent(method: Method, part: str) -> dict[str, int]:
    """The tensors whose shape depends on the number of channels or classes, with the axis: those of another shape in
    the same method for one more of them; none where it cannot be built for that."""
    one_more = _with_names(method.traits, part, (*_names(method.traits, part), "one more"))
    uses = {role: model for role, model in method.uses.items() if isinstance(model, Method)}
    try:
        other = build(type(method), method.settings, one_more, uses=uses, resolved=True).state_dict()
    except (ScantlingError, ValueError, RuntimeError):
        return {}
    found = {}
    for name, tensor in method.state_dict().items():
        if name in other and other[name].ndim == tensor.ndim:
            axes = [a for a, (m, n) in enumerate(zip(tensor.shape, other[name].shape, strict=True)) if m != n]
            if len(axes) == 1:
                found[name] = axes[0]
    return found


def _merged(
    given: Tensor, fresh: Tensor, names: tuple[Sequence[str], Sequence[str]], *, axis: int, classes: bool
) -> Tensor | None:
    """The fresh tensor with what the given one has of channels or classes of equal names; None if there are none.

    Args:
        names: those of the given and of the fresh tensor.
        axis: along which they lie; outputs of exclusive classes have the background first.
        classes: whether they are classes, of which unknown ones begin anew; unknown channels begin at 0.
    """
    before, after = (_layout(t.shape[axis], n, output=axis == 0) for t, n in zip((given, fresh), names, strict=True))
    rest = [tuple(n for a, n in enumerate(tensor.shape) if a != axis) for tensor in (given, fresh)]
    common = (set(before) & set(after)) - {BACKGROUND}
    if not common or rest[0] != rest[1]:
        return None
    merged = fresh.clone() if classes or fresh.ndim == 1 else torch.zeros_like(fresh)
    for place, name in enumerate(after):
        if name in before:
            row = given.select(axis, before.index(name))
            if BACKGROUND in before and BACKGROUND not in after:  # a sigmoid now: the logit against the background
                row = row - given.select(axis, before.index(BACKGROUND))
            merged.select(axis, place).copy_(row)
        elif name == BACKGROUND:  # a softmax now: beside a logit of 0 that of a class answers as its sigmoid did
            merged.select(axis, place).zero_()
    return merged


def _layout(size: int, names: Sequence[str], *, output: bool) -> list[str]:
    """What lies where along an axis; nothing where that is not known."""
    if size == len(names):
        return list(names)
    return [BACKGROUND, *names] if output and size == len(names) + 1 else []


def _summary(
    method: Method,
    base: Method,
    new: Sequence[str],
    exchanged: Mapping[str, Mapping[str, int]],
    kept: Mapping[str, bool],
    *,
    own: int,
) -> str:
    """ "54 of 58 tensors loaded; new: the first layer (3 channels, was 1), the head (2 classes, was 1)"."""
    if not new:
        return f"all {own} tensors loaded"
    clauses = []
    for part, dependent in exchanged.items():
        if any(name in dependent for name in new):
            before, after = _names(base.traits, part), _names(method.traits, part)
            same = [name for name in after if name in before] if kept[part] else []
            layer, one, several = PARTS[part]
            as_before = f"; kept: {some(same)}" if same else ""
            clauses.append(f"{layer} ({count(len(after), one, several)}, was {len(before)}{as_before})")
    others = [name for name in new if not any(name in dependent for dependent in exchanged.values())]
    if others:
        clauses.append(f"{len(others)} of other names or shapes ({some(others)})")
    return f"{own - len(new)} of {own} tensors loaded; new: {', '.join(clauses)}"
