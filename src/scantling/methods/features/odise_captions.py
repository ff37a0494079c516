"""What the diffusion model that `odise` reads is told of an image: nothing, words, or a prompt that is learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scantling.core.errors import FileError, SettingsError
from scantling.core.samples import Batch
from scantling.methods.features.clip_folder import TEMPLATE
from scantling.methods.features.diffusers_folder import DiffusersFolder
from scantling.methods.features.latent_taps import latent_taps, pooled_embedding
from scantling.methods.features.odise_lexicon import Lexicon
from scantling.methods.features.odise_settings import OdiseSettings
from scantling.methods.features.reader import FeatureReader
from scantling.networks.captioner import ImplicitCaptioner

LIKEST = 5
"""Names of a heuristic caption, at most (ours)."""


class PromptEncoder(nn.Module):
    """The text encoder beside a latent diffusion model, as diffusers saves it; nothing is fetched.

    Args:
        folder: with `text_encoder` (a CLIPTextModel) and `tokenizer`.
        tokens, features: of the prompts of the model.

    Raises:
        SettingsError: transformers is not installed, or the folder has no text encoder.
        FileError: it is not what transformers saves, or its prompts are not those of the model.
    """

    def __init__(self, folder: Path, *, tokens: int, features: int) -> None:
        super().__init__()
        if not ((folder / "text_encoder").is_dir() and (folder / "tokenizer").is_dir()):
            raise SettingsError(
                f"--settings.features {folder}: has no folders text_encoder and tokenizer, which make a prompt of "
                "words; add them, or take --settings.captioner empty or implicit"
            )
        try:
            import transformers  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise SettingsError(
                "a text encoder needs transformers; install it with pip install 'scantling[transformers]'"
            ) from None
        try:
            self.model: Any = transformers.CLIPTextModel.from_pretrained(
                folder / "text_encoder", local_files_only=True, use_safetensors=True
            )
            self._tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise FileError(
                folder / "text_encoder", f"is no text encoder ({first})", expected="what transformers saves"
            ) from None
        if (found := int(self.model.config.hidden_size)) != features:
            raise FileError(
                folder / "text_encoder", f"makes prompts of {found} features",
                expected=f"{features}, as prompt.safetensors has them",
            )  # fmt: skip
        self._tokens = tokens

    @torch.no_grad()
    def forward(self, texts: Sequence[str]) -> Tensor:
        """Prompts (B, tokens, features) of texts; what is longer is cut."""
        given = self._tokenizer(
            list(texts), padding="max_length", max_length=self._tokens, truncation=True, return_tensors="pt"
        )
        device = next(self.model.parameters()).device
        prompts: Tensor = self.model(given["input_ids"].to(device))[0]
        return prompts


class Told(NamedTuple):
    """How a latent diffusion model is read, and what it is told.

    Attributes:
        kind: see `OdiseSettings.captioner`.
        captioner: what is learned; None of the others.
        prompts: what makes prompts of words; None where there are none.
        reader: of its maps; None where the source is no latent diffusion model and is read as others are.
    """

    kind: str
    captioner: ImplicitCaptioner | None = None
    prompts: PromptEncoder | None = None
    reader: FeatureReader | None = None


def told(network: nn.Module | None, settings: OdiseSettings, lexicon: Lexicon, *, channels: int) -> Told:
    """How a network is to be read and told of images.

    Raises:
        SettingsError: the settings ask for words or a learned prompt, and there is no prompt, text encoder or CLIP.
        FileError: the text encoder of the folder cannot be read.
    """
    asked = settings.captioner
    if not isinstance(network, DiffusersFolder) or network.vae is None or network.prompt is None:
        if asked not in (None, "empty"):
            raise SettingsError(
                f"--settings.captioner {asked}: {'learns' if asked == 'implicit' else 'writes'} the prompt of a latent "
                f"diffusion model, and --settings.features {settings.features} has none; take empty, or name a folder "
                "of diffusers"
            )
        return Told("empty")
    times = settings.timesteps
    if settings.blocks or len(times) != 1:
        raise SettingsError(
            "--settings.blocks, --settings.timesteps: odise reads a latent diffusion model at one timestep, where "
            "its paper does; leave the blocks out and name one timestep"
        )
    kind, clip = asked or "implicit", lexicon.clip
    if kind == "heuristic" and clip is None:
        raise SettingsError(
            "--settings.captioner heuristic: the names that CLIP finds likest make the caption, and there is no CLIP; "
            "name one with --settings.text FOLDER, or take another captioner"
        )
    tokens, features = network.prompt.shape[1:]
    captioner, prompts = None, None
    if kind == "implicit":
        encoded, time = network.vae.encoder.conv_norm_out, network.unet.time_embedding.linear_2
        width = encoded.num_channels if clip is None else clip.width
        captioner = ImplicitCaptioner(width, tokens=tokens, features=features, time=time.out_features)
    elif kind != "empty":
        prompts = PromptEncoder(Path(settings.features), tokens=tokens, features=features)
        prompts = prompts.eval().requires_grad_(False)

    def condition(batch: Batch, encoded: Tensor) -> tuple[Tensor, Tensor | None]:
        prompt = torch.as_tensor(network.prompt)  # asked for each time: a model that moves has another tensor
        if captioner is not None:
            seen = pooled_embedding(encoded) if clip is None else clip.image(batch.image)
            return captioner(seen.to(prompt.dtype), prompt)
        if prompts is None:
            return prompt.expand(len(batch.image), -1, -1), None
        return prompts(likest_names(batch, lexicon) if kind == "heuristic" else captions_of(batch)), None

    read = latent_taps(network, condition, timestep=times[0])
    return Told(kind, captioner, prompts, FeatureReader(read, channels=channels, network=network))


def captions_of(batch: Batch) -> tuple[str, ...]:
    """The caption of each image as its manifest has it; an empty one where it has none; one alone is that of all."""
    given = batch.captions or ("",)
    return given * len(batch.image) if len(given) == 1 else given


def likest_names(batch: Batch, lexicon: Lexicon) -> list[str]:
    """For each image a caption of the classes of the training whose words CLIP finds likest to it.

    Ours: the paper compares with a heuristic captioner, and how it writes is not known here.
    """
    if lexicon.clip is None or lexicon.known is None:
        raise ValueError("a heuristic caption needs a CLIP")
    names = lexicon.names[: len(lexicon.names) - lexicon.background]
    seen = lexicon.clip.image(batch.image)
    alike = seen @ lexicon.known[: len(names)].to(seen).T  # (B, K)
    order = alike.topk(min(LIKEST, len(names))).indices.tolist()
    return [TEMPLATE.format(", ".join(names[place] for place in row)) for row in order]
