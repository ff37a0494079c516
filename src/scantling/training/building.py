"""The method of a training: on the models that it uses, for the traits of its data, with its first weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scantling.contract.card import Card
from scantling.contract.method import Method, build
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.methods.catalogue import implementation_of
from scantling.records.run_folder import load_model
from scantling.training.finishing import check_labels
from scantling.training.options import Options
from scantling.training.pretrained import Pretrained, load_pretrained


def build_method(card: Card, traits: Traits, options: Options) -> tuple[Method, Pretrained | None]:
    """The untrained method of a training, and what of it was loaded from the run of `--from`.

    Settings that shape the network (`Settings.architecture`, of both methods) are those of that run, unless they are
    given. What the method is built on decides with how many hand-drawn masks it begins.

    Raises:
        SettingsError: the settings, the models that it uses or the run of its first weights do not suit.
    """
    kind = implementation_of(card)
    changes = dict(options.settings) | ({"steps": options.steps} if options.steps is not None else {})
    settings = kind.Settings.preset(options.preset, changes)
    base = load_model(options.base) if options.base is not None else None
    inherited = list[str]()
    if base is not None and base.card.name in (card.name, *kind.begins_with):
        shared = [name for name in kind.Settings.architecture if name in base.settings.architecture]
        shape = {name: getattr(base.settings, name) for name in shared if name not in changes}
        inherited = [name for name, value in shape.items() if value != getattr(settings, name)]
        settings = kind.Settings.preset(options.preset, {**shape, **changes})
    uses = _used(card, options.uses)
    before = [model.hand_drawn for model in (*uses.values(), *([base] if base is not None else []))]
    traits = traits.model_copy(update={"hand_drawn_before": max(traits.hand_drawn_before, *before, 0)})
    method = build(kind, settings.resolve(traits), traits, seed=options.seed, uses=uses)
    check_labels(method)
    if base is None or options.base is None:
        return method, None
    rate = options.pretrained_rate
    return method, load_pretrained(method, base, run=options.base, rate=rate, inherited=inherited)


def _used(card: Card, runs: Mapping[str, Path]) -> dict[str, Method]:
    """The models that a method is built on, by role.

    Raises:
        SettingsError: a role is not filled, not known, or filled by a model that cannot do it.
    """
    roles = card.uses | card.may_use
    for role in runs:
        if role not in roles:
            known = f"it uses: {', '.join(roles)}" if roles else "it is built on no other model"
            raise SettingsError(f"--use {role}={runs[role]}: {card.name} has no such role; {known}")
    models = {}
    for role, capability in roles.items():
        if role not in runs and role in card.may_use:
            continue
        if role not in runs:
            raise SettingsError(
                f"{card.name} is built on a model that can {capability}; name its run with --use {role}=RUN"
            )
        models[role] = load_model(runs[role])
        if capability not in models[role].gives:
            raise SettingsError(
                f"--use {role}={runs[role]}: {models[role].card.name} can {', '.join(models[role].gives)}; expected a "
                f"model that can {capability}"
            )
    return models
