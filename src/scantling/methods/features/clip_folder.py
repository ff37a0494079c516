"""A CLIP of the user in a folder as transformers saves it: words and images in one space, and masks among them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.errors import FileError, SettingsError

KIND = "CLIPModel"
TEMPLATE = "a photo of a {}."
"""What a word stands in (Xu et al., 2023, their code: "photo")."""
AT_ONCE = 256
"""Words that are embedded together."""
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the colours that CLIP was trained on (Radford et al., 2021)."""


class ClipFolder(nn.Module):
    """CLIP (Radford et al., 2021) with its tokenizer; nothing is fetched.

    Args:
        folder: with `config.json`, `model.safetensors` and the files of the tokenizer.

    Raises:
        SettingsError: transformers is not installed.
        FileError: the folder is not what transformers saves of a CLIP, with safetensors.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        try:
            kind = next(iter(json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]))
        except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
            raise FileError(folder, f"holds no model of transformers ({error})", expected="a CLIPModel") from None
        if kind != KIND:
            raise FileError(folder, f"holds a {kind}", expected=f"a {KIND}, whose words and images have one space")
        try:
            import transformers  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise SettingsError(
                "a text encoder needs transformers; install it with pip install 'scantling[transformers]'"
            ) from None
        expected = "what transformers saves, as safetensors"
        try:
            model, told = transformers.CLIPModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            self._tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise FileError(folder, f"is no CLIP ({first})", expected=expected) from None
        if lacking := sorted(map(str, told["missing_keys"])):  # transformers would draw them at random
            raise FileError(folder, f"has no weights {lacking[0]!r} and {len(lacking) - 1} more", expected=expected)
        self.clip: Any = model

    @property
    def width(self) -> int:
        """Of the embeddings."""
        return int(self.clip.config.projection_dim)

    @torch.no_grad()
    def words(self, words: Sequence[str]) -> Tensor:
        """The embeddings (S, D) of words, each in `TEMPLATE`, of length 1."""
        found = []
        for start in range(0, len(words), AT_ONCE):
            texts = [TEMPLATE.format(word) for word in words[start : start + AT_ONCE]]
            tokens = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
            device = self.clip.text_projection.weight.device
            inputs = {name: tokens[name].to(device) for name in ("input_ids", "attention_mask")}
            found.append(F.normalize(self.clip.text_projection(self.clip.text_model(**inputs)[1]), dim=-1))
        return torch.cat(found)

    @torch.no_grad()
    def image(self, image: Tensor) -> Tensor:
        """The embeddings (B, D) of images (B, 3, H, W) in [-1, 1], of length 1."""
        seen, _ = self._seen(image, None)
        return seen[:, 0]

    @torch.no_grad()
    def masks(self, image: Tensor, masks: Tensor) -> Tensor:
        """The embeddings (B, Q, D) of what lies under masks, of length 1 (MaskCLIP: Ding et al., 2023).

        A class token for each mask attends to the patches that have a pixel inside it, and nothing attends to it; one
        whose mask is empty attends to all patches (ours).

        Args:
            image: (B, 3, H, W) in [-1, 1].
            masks: (B, Q, h, w) in [0, 1].
        """
        vision = self.clip.vision_model
        side = int(vision.config.image_size)
        fine = F.interpolate(masks, (side, side), mode="bilinear", align_corners=False)
        patches = F.max_pool2d(fine, int(vision.config.patch_size)).flatten(2) >= 0.5  # (B, Q, N)
        return self._seen(image, patches | ~patches.any(2, keepdim=True))[1]

    def _seen(self, image: Tensor, patches: Tensor | None) -> tuple[Tensor, Tensor]:
        """The embeddings of the image (B, 1, D), and of masks that see these patches (B, Q, N)."""
        vision = self.clip.vision_model
        side, dtype = int(vision.config.image_size), self.clip.visual_projection.weight.dtype
        image = F.interpolate(image.expand(-1, 3, -1, -1).to(dtype), (side, side), mode="bicubic", antialias=True)
        mean, deviation = (image.new_tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
        x = vision.pre_layrnorm(vision.embeddings((image + 1).clamp(0, 2) / 2 / deviation - mean / deviation))
        tokens, blind = x.shape[1], None
        if patches is not None:
            x = torch.cat([x, x[:, :1].expand(-1, patches.shape[1], -1)], 1)
            sees = torch.zeros(len(x), x.shape[1], x.shape[1], dtype=torch.bool, device=x.device)
            sees[:, :tokens, :tokens] = True
            sees[:, tokens:, 1:tokens] = patches
            blind = sees[:, None]  # the same for all heads
        for layer in vision.encoder.layers:
            x = x + _attended(layer.self_attn, layer.layer_norm1(x), blind)
            x = x + layer.mlp(layer.layer_norm2(x))
        x = F.normalize(self.clip.visual_projection(vision.post_layernorm(x)), dim=-1)
        return x[:, :1], x[:, tokens:]


def _attended(attention: Any, x: Tensor, sees: Tensor | None) -> Tensor:
    """What a layer's attention makes of tokens (B, N, C) that see those that `sees` (B, 1, N, N) says."""
    heads = int(attention.num_heads)
    query, key, value = (
        project(x).unflatten(2, (heads, -1)).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    seen = F.scaled_dot_product_attention(query, key, value, attn_mask=sees)
    out: Tensor = attention.out_proj(seen.transpose(1, 2).flatten(2))
    return out
