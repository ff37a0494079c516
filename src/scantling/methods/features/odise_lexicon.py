"""What `odise` compares its masks with: learned embeddings, or those of a text encoder, which know any word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from scantling.core.errors import SettingsError
from scantling.diffusion.chain import exact
from scantling.methods.features.clip_folder import ClipFolder
from scantling.methods.features.odise_settings import OdiseOptions
from scantling.methods.features.odise_words import BACKGROUND, VOCABULARY, Vocabulary, plain
from scantling.networks.mask_queries import Words, fused, likest, with_nothing


class Lexicon(nn.Module):
    """The embeddings of class names, and what a mask is likely to be in their light.

    Args:
        classes: of the training.
        background: whether what belongs to no class is one more class.
        width: of the learned embeddings, where there is no text encoder.
        text: the folder of a CLIP; None where names are learned.
        captions: whether it learned from captions, so that `objectness` says what is nothing.

    Attributes:
        clip: the text encoder, frozen; None without one.
        width: of the embeddings.
    """

    known: Tensor | None

    def __init__(
        self, classes: Sequence[str], *, background: bool, width: int, text: Path | None, captions: bool = False
    ) -> None:
        super().__init__()
        self.names = (*classes, *((BACKGROUND,) if background else ()))
        self.background = background
        self.clip = None if text is None else ClipFolder(text).eval().requires_grad_(False)
        self.width = width if self.clip is None else self.clip.width
        self.words = Words(self.width, 0 if self.clip is not None else len(self.names), nothing=not captions)
        self.objectness = nn.Linear(self.width, 2) if captions else None
        self.shares = (0.35, 0.65) if captions else (0.3, 0.7)
        self.register_buffer("known", None if self.clip is None else self.clip.words(self.names))
        self._embedded, self._nouns = dict[Vocabulary, Tensor](), dict[str, Tensor]()

    def forward(self, z: Tensor) -> Tensor:
        """Logits (..., K + 1) of z (..., D) over the classes of the training and "nothing"."""
        logits: Tensor = self.words(z, self.known)
        return logits

    def vocabulary(self, options: OdiseOptions) -> Vocabulary:
        """The classes of an answer.

        Raises:
            SettingsError: they are no vocabulary, some were not in the training and no text encoder knows them, or a
                share of CLIP was asked of a model that has none.
        """
        trained = self.names[: len(self.names) - self.background]
        for name in ("clip_seen", "clip_unseen"):
            if self.clip is None and getattr(options, name) is not None:
                raise SettingsError(
                    f"--options.{name}: this model has no text encoder, so that CLIP has no share; leave it out, or "
                    "train with --settings.text FOLDER"
                )
        if not options.vocabulary:
            return Vocabulary(tuple((name,) for name in trained), tuple(range(len(trained))))
        found = Vocabulary.of(options.vocabulary, trained)
        if not self.background:
            raise SettingsError(f"{VOCABULARY}: the classes of this model overlap; it answers with those alone")
        if found.unseen and self.clip is None:
            raise SettingsError(
                f"{VOCABULARY}: {', '.join(map(repr, found.unseen[:3]))} {'was' if len(found.unseen) == 1 else 'were'} "
                f"not in the training, and this model has no text encoder, which alone knows other words; ask for some "
                f"of {', '.join(trained)}, or train with --settings.text FOLDER"
            )
        return found

    def probabilities(self, z: Tensor, image: Tensor, masks: Tensor, options: OdiseOptions) -> Tensor:
        """The probabilities (B, Q, K + 1) of the classes of each mask; those of "nothing" the last ones.

        Args:
            z: (B, Q, D).
            image: (B, C, H, W) in [-1, 1].
            masks: (B, Q, h, w) in [0, 1].
        """
        chosen = self.vocabulary(options)
        words, of = self._words(chosen)
        ours = exact(self.words(z, words, of)).softmax(-1)
        if self.objectness is not None:
            ours = with_nothing(ours, exact(self.objectness(z)).softmax(-1)[..., 1:])
        seen = [*(number is not None for number in chosen.learned), *((True,) if self.background else ())]
        shares = zip((options.clip_seen, options.clip_unseen), self.shares, strict=True)
        of_seen, of_unseen = (usual if given is None else given for given, usual in shares)
        weight = ours.new_tensor([of_seen if each else of_unseen for each in seen])
        if self.clip is None or not bool(weight.any()):
            return ours
        theirs = exact(self.clip.masks(image, masks.to(self.clip.clip.dtype))) @ exact(words).T
        theirs = likest(theirs * exact(self.clip.clip.logit_scale).exp(), of).softmax(-1)
        nothing = ours[..., -1:]
        inside = ours[..., :-1] / ours[..., :-1].sum(-1, keepdim=True).clamp(min=torch.finfo(ours.dtype).tiny)
        return with_nothing(fused(inside, theirs, weight), nothing)

    def agreements(self, z: Tensor, captions: Sequence[Sequence[str]]) -> list[Tensor]:
        """For each caption the agreement (B, Q, W) of masks z (B, Q, D) with its words, the background one of them.

        Args:
            captions: the nouns of each image.
        """
        if self.clip is None:
            raise ValueError("captions need a text encoder")
        every = sorted({word for words in captions for word in words} - self._nouns.keys())
        if every:
            self._nouns |= dict(zip(every, self.clip.words(every), strict=True))
        more = [] if self.known is None or not self.background else [self.known[-1]]
        tables = [torch.stack([*(self._nouns[word].to(z.device) for word in words), *more]) for words in captions]
        return [exact(self.words.alike(z, table)) for table in tables]

    def _words(self, chosen: Vocabulary) -> tuple[Tensor, Tensor]:
        """The embeddings (S, D) of the words of a vocabulary and the class of each (S,), the background the last."""
        sizes = [len(words) for words in chosen.classes]
        if self.clip is None:  # each class is known, by one of its words or by several
            known = {plain(name): number for number, name in enumerate(self.names)}
            rows = [[known[plain(word)] for word in words if plain(word) in known] for words in chosen.classes]
            rows += [[len(self.names) - 1]] if self.background else []
            learned = self.words.learned
            if learned is None:
                raise ValueError("neither a text encoder nor learned words")
            numbers = [number for row in rows for number in row]
            of = torch.arange(len(rows)).repeat_interleave(torch.tensor([len(row) for row in rows]))
            return learned[numbers], of.to(learned.device)
        if chosen not in self._embedded:
            self._embedded = {chosen: self.clip.words([word for words in chosen.classes for word in words])}
        embedded = self._embedded[chosen].to(self.words.scale.device)
        counts = torch.tensor([*sizes, 1] if self.background else sizes)
        of = torch.arange(len(counts)).repeat_interleave(counts).to(embedded.device)
        if self.background and self.known is not None:
            embedded = torch.cat([embedded, self.known[-1:].to(embedded)])
        return embedded, of
