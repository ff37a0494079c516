"""ODISE: segments, objects, words; what is frozen stays frozen, and what nobody has learned is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from diffusers_models import folder
from scantling.contract.method import build
from scantling.contract.step import Inference, Step
from scantling.core.case import Labels
from scantling.core.errors import DataError, FileError, SettingsError
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Intensity, Traits
from scantling.methods.features import odise_captions, odise_lexicon
from scantling.methods.features.clip_folder import ClipFolder
from scantling.methods.features.odise import Odise
from scantling.methods.features.odise_captions import PromptEncoder, likest_names
from scantling.methods.features.odise_objects import overlapping, panoptic, segments_of, semantic
from scantling.methods.features.odise_settings import OdiseOptions, OdiseSettings
from scantling.methods.features.odise_words import Vocabulary, nouns_of
from scantling.methods.features.sliding import sliding, starts
from scantling.records.run_folder import load_model, save_model


def traits(*classes: str, channels: int = 3, **facts: Any) -> Traits:
    each = Intensity(mean=100, std=50, low=0, high=250, minimum=0, maximum=255)
    names = classes or ("liver", "tumour")
    known: dict[str, Any] = {
        "dimensions": 2,
        "labels": Labels(names=names, values=tuple((n,) for n in range(1, len(names) + 1))),
    }
    return Traits(
        channels=("red", "green", "blue")[:channels], spacing=(1.0, 1.0), shape=(16, 16), smallest=(16, 16),
        intensity=(each,) * channels, **{**known, **facts},
    )  # fmt: skip


def odise(of: Traits | None = None, **changes: Any) -> Odise:
    of = of or traits()
    settings = OdiseSettings.preset("tiny", {"features": "pyramid", **changes}).resolve(of)
    return build(Odise, settings, of, seed=1).eval()


def images(count: int = 1, *, side: int = 16) -> Tensor:
    return 2 * torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) - 1


def tiles(mask: Tensor, *, image: Tensor | None = None, **more: Any) -> Batch:
    numbers = torch.arange(len(mask))
    image = torch.zeros(len(mask), 3, *mask.shape[2:]) if image is None else image
    return Batch(numbers, numbers, {"image": image, "mask": mask, **more.pop("fields", {})}, **more)


def asked(model: Odise, image: Tensor, **options: Any) -> Any:
    chosen = model.segment_options(model.segment_with.of(options))
    with torch.no_grad():
        return model.segment(Batch(torch.arange(len(image)), torch.arange(len(image)), {"image": image}),
                             Inference(seed=0, options=chosen))  # fmt: skip


def moved(model: Odise, batch: Batch) -> dict[str, Tensor]:
    """The terms of one step, after backward."""
    game = model.objectives({"tiles": batch}, Step(seed=0))
    total = next(game)
    _, terms = game.send(total.part)  # type: ignore[union-attr]
    sum(terms.values()).backward()  # type: ignore[union-attr]
    return {name: value.detach() for name, value in terms.items()}


TWO_SQUARES = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
TWO_SQUARES[0, 0, 1:3, 1:3] = 1
TWO_SQUARES[0, 0, 5:7, 5:7] = 1
TWO_SQUARES[0, 0, 0, 7] = 2
TWO_SQUARES[0, 0, 7, 0] = IGNORE


def test_what_a_segment_is() -> None:
    (one,) = segments_of(tiles(TWO_SQUARES), 2, objects_from="mask", background=True)
    assert one.classes.tolist() == [0, 1, 2]
    assert one.masks.flatten(1).sum(1).tolist() == [8, 1, 64 - 8 - 1 - 1]
    assert not one.known[7, 0]
    assert not bool(one.masks[:, 7, 0].any())
    (one,) = segments_of(tiles(TWO_SQUARES), 2, objects_from="pieces", background=True)
    assert one.classes.tolist() == [0, 0, 1, 2]
    assert one.masks.flatten(1).sum(1).tolist() == [4, 4, 1, 54]
    instances = {"instances": torch.arange(64, dtype=torch.int32).view(1, 1, 8, 8) // 32}
    (one,) = segments_of(tiles(TWO_SQUARES, fields=instances), 1, objects_from="instances", background=False)
    assert (one.classes.tolist(), one.masks.flatten(1).sum(1).tolist()) == ([0], [32])
    layers = torch.zeros(1, 2, 4, 4, dtype=torch.uint8)
    layers[:, :, 1] = 1  # two classes that overlap
    (one,) = segments_of(tiles(layers), 2, objects_from="mask", background=False)
    assert one.masks.flatten(1).sum(1).tolist() == [4, 4]


def test_the_winner_of_each_pixel_owns_it_and_a_mask_that_loses_most_is_dropped() -> None:
    masks = torch.zeros(4, 6, 6)
    masks[0, :3], masks[1, 1:4], masks[2, 4:], masks[3, :, 5:] = 0.9, 0.8, 0.9, 0.95
    classes = torch.tensor([[0.9, 0.05, 0.03], [0.8, 0.1, 0.05], [0.1, 0.8, 0.05], [0.1, 0.1, 0.7]])
    classes = torch.cat([classes, 1 - classes.sum(1, keepdim=True)], 1)
    found = panoptic(classes, masks, things=2, overlap=0.8, threshold=0)
    assert found.classes.tolist() == [0, 1], "the second loses two rows of three; the third class only competes"
    assert found.scores is not None
    assert found.scores.tolist() == pytest.approx([0.81, 0.72])
    assert [int(crop.sum()) for crop in found.crops] == [18, 12]
    assert len(panoptic(classes, masks, things=2, overlap=0, threshold=0).classes) == 3
    assert not len(panoptic(classes, masks, things=2, overlap=0.8, threshold=0.95).classes)
    both = overlapping(classes, masks, things=2, threshold=0.2, most=2)
    assert [int(crop.sum()) for crop in both.crops] == [18, 18]


def test_the_map_of_classes_does_not_depend_on_the_order_of_the_queries() -> None:
    torch.manual_seed(0)
    classes, logits = torch.rand(1, 5, 3).softmax(2), torch.randn(1, 5, 4, 4)
    order = torch.tensor([4, 2, 0, 1, 3])
    found = semantic(classes, logits, (8, 8))
    torch.testing.assert_close(semantic(classes[:, order], logits[:, order], (8, 8)), found)
    masks = F.interpolate(logits, (8, 8), mode="bilinear").sigmoid()
    by_hand = sum(classes[0, q, 1] * masks[:, q : q + 1] for q in range(5))
    torch.testing.assert_close(found[:, 1:2], by_hand)


def test_probabilities_and_background_are_one_distribution_and_objects_are_given_where_they_are_learned() -> None:
    answer = asked(odise(), images(2))
    assert answer.probabilities.shape == (2, 2, 16, 16)
    assert float(answer.probabilities.sum(1).max()) <= 1 + 1e-5
    assert not answer.instances
    model = odise(objects_from="pieces")
    answer = asked(model, images(2), threshold=0.0, overlap=0.0)
    assert len(answer.instances) == 2
    assert answer.decision.shape == (2, 1, 16, 16)
    assert model.without_views()
    apart = traits(labels=Labels(names=("whole", "core"), values=((1, 2), (2,))))
    assert asked(odise(apart), images()).probabilities.shape == (1, 2, 16, 16)


def test_features_of_an_image_are_the_same_whenever_they_are_read() -> None:
    one, other = (asked(odise(), images()).probabilities for _ in range(2))
    assert torch.equal(one, other)


def test_a_model_without_a_text_encoder_answers_with_what_it_has_learned_in_any_order() -> None:
    model = odise()
    all_of_them = asked(model, images()).probabilities
    assert torch.equal(asked(model, images(), vocabulary="liver,tumour").probabilities, all_of_them)
    turned = asked(model, images(), vocabulary="Tumour,liver").probabilities
    torch.testing.assert_close(turned, all_of_them.flip(1))
    alone = model.segment_with.of({"vocabulary": "tumour"})
    labels = model.labels_of(alone)
    assert labels is not None
    assert labels.names == ("tumour",)
    assert asked(model, images(), vocabulary="tumour").probabilities.shape[1] == 1
    either = asked(model, images(), vocabulary="tumour|liver").probabilities
    torch.testing.assert_close(either, asked(model, images(), vocabulary="liver|tumour").probabilities)
    assert not torch.equal(either, asked(model, images(), vocabulary="tumour").probabilities), "both words count"
    assert OdiseOptions.of({"vocabulary": [1, "2"]}).vocabulary == ("1", "2")


MANY = ",".join(f"word {n}" for n in range(10_000))
WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "unseen": (
        lambda: asked(odise(), images(), vocabulary="liver,spleen"),
        "--options.vocabulary: 'spleen' was not in the training, and this model has no text encoder",
    ),
    "twice": (lambda: asked(odise(), images(), vocabulary="liver,liver"), "found 'liver' twice"),
    "capitals": (lambda: asked(odise(), images(), vocabulary="liver,Liver"), "found 'liver' and 'Liver'"),
    "synonym": (lambda: asked(odise(), images(), vocabulary="liver|tumour,tumour"), "found 'tumour' twice"),
    "empty": (lambda: asked(odise(), images(), vocabulary="liver,,tumour"), "found an empty name"),
    "background": (lambda: asked(odise(), images(), vocabulary="background"), "which is always there; leave it out"),
    "10,000 words": (lambda: asked(odise(), images(), vocabulary=MANY), "found 10000 classes; a mask holds 254"),
    "classes by case": (lambda: odise(traits("Cell", "cell")), "found 'Cell' and 'cell'; expected names that differ"),
    "background class": (lambda: odise(traits("cell", "Background")), "which odise calls what belongs to no class"),
    "no classes": (lambda: odise(traits(labels=None)), "needs masks to know its classes"),
    "captions": (lambda: odise(supervision="captions"), "there is no text encoder; name one with --settings.text"),
    "captioner": (lambda: odise(captioner="implicit"), "learns the prompt of a latent diffusion model"),
    "words without a prompt": (lambda: odise(captioner="text"), "writes the prompt of a latent diffusion model"),
    "channels of CLIP": (
        lambda: odise(traits(channels=2), text=Path("theirs")),
        "found images of 2 channels .red, green.; CLIP looks at colour images, or grey ones",
    ),
    "share of no CLIP": (
        lambda: asked(odise(), images(), clip_seen=0.5),
        "--options.clip_seen: this model has no text encoder",
    ),
    "heads": (lambda: odise(width=9), "--settings.width 9: expected a multiple of --settings.heads 2"),
    "instances": (lambda: odise(objects_from="instances"), "instance maps do not say which of liver, tumour"),
    "volumes": (
        lambda: OdiseSettings.preset("tiny", {"objects_from": "pieces"}).resolve(traits(dimensions=3)),
        "finds objects in pictures, and the data are volumes",
    ),
    "overlapping": (
        lambda: asked(odise(traits(labels=Labels(names=("a", "b"), values=((1, 2), (2,))))), images(), vocabulary="a"),
        "the classes of this model overlap",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_odise_cannot_do_is_said_in_a_sentence(what: str) -> None:
    make, message = WRONG[what]
    with pytest.raises(SettingsError, match=message):
        make()


def test_the_captioner_learns_through_the_frozen_model_which_does_not(tmp_path: Path) -> None:
    place = folder(tmp_path / "theirs", latent=True)
    model = odise(features=str(place), size=16)
    assert model.reader.names == (
        "encoder 0", "encoder 1", "U-Net 0", "U-Net 1", "decoder 0", "decoder 1",
    )  # fmt: skip
    empty = odise(features=str(place), size=16, captioner="empty")
    seen = [each.reader.maps(tiles(TWO_SQUARES, image=images(side=8))) for each in (model, empty)]
    for one, other in zip(*(each.values() for each in seen), strict=True):
        assert torch.equal(one, other), "at first the caption is the empty prompt"
    (stage,) = model.stages()
    owned = {id(p) for player in stage.players for p in player.parameters()}
    frozen = [p for p in model.parameters() if id(p) not in owned]
    mask = F.interpolate(TWO_SQUARES.float(), (16, 16), mode="nearest").to(torch.uint8)
    terms = moved(model, tiles(mask, image=images()))
    assert set(terms) == {"class", "mask", "dice"}
    assert model.captioner is not None
    assert float(model.captioner.gate.grad.abs().sum()) > 0  # type: ignore[union-attr]
    assert float(model.captioner.time_gate.grad.abs().sum()) > 0  # type: ignore[union-attr]
    assert frozen
    assert all(p.grad is None for p in frozen)
    save_model(model, tmp_path / "model")
    again = asked(load_model(tmp_path / "model"), images())  # type: ignore[arg-type]
    assert torch.equal(again.probabilities, asked(model, images()).probabilities)
    with pytest.raises(SettingsError, match="odise reads a latent diffusion model at one timestep"):
        odise(features=str(place), blocks=(0,))
    with pytest.raises(SettingsError, match="this model knows the timesteps 0 to 999"):
        odise(features=str(place), timesteps=(1000,))


class FakeClip(nn.Module):
    """A text encoder that gives each word a direction of its own, and sees one word under every mask."""

    width, seen = 12, "spleen"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.clip = nn.Linear(1, 1)
        self.clip.dtype, self.clip.logit_scale = torch.float32, torch.tensor(4.6)

    def words(self, words: Sequence[str]) -> Tensor:
        each = [torch.randn(self.width, generator=torch.Generator().manual_seed(sum(map(ord, w)))) for w in words]
        return F.normalize(torch.stack(each), dim=1)

    def image(self, image: Tensor) -> Tensor:
        return self.words([self.seen]).expand(len(image), -1)

    def masks(self, image: Tensor, masks: Tensor) -> Tensor:
        return self.words([self.seen]).expand(len(image), masks.shape[1], -1)


@pytest.fixture
def worded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Odise]:
    monkeypatch.setattr(odise_lexicon, "ClipFolder", FakeClip)
    return lambda **changes: odise(text=Path("theirs"), **changes)


def test_a_text_encoder_answers_about_words_that_were_not_learned(
    worded: Callable[..., Odise], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = worded(), images()
    assert model.lexicon.words.learned is None
    answer = asked(model, image, vocabulary="liver,spleen|milt,tumour")
    assert answer.probabilities.shape == (1, 3, 16, 16)
    alone = [{"clip_seen": share, "clip_unseen": share, "vocabulary": "liver,spleen"} for share in (0.0, 1.0)]
    ours = list[Tensor]()
    for number, word in enumerate(("liver", "spleen")):
        monkeypatch.setattr(FakeClip, "seen", word)
        ours.append(asked(model, image, **alone[0]).probabilities)
        assert float(asked(model, image, **alone[1]).probabilities[:, number].min()) > 0.9, "CLIP alone speaks"
    assert torch.equal(*ours), "CLIP has no say"
    model.lexicon.clip = None
    with pytest.raises(SettingsError, match="'spleen' was not in the training"):
        asked(model, image, vocabulary="liver,spleen")


def test_the_share_of_clip_follows_from_which_words_were_learned(worded: Callable[..., Odise]) -> None:
    z, image, masks = torch.randn(1, 4, 12), images(), torch.rand(1, 4, 4, 4)
    model = worded()

    def answered(**options: Any) -> Tensor:
        return model.lexicon.probabilities(z, image, masks, OdiseOptions.of({"vocabulary": "liver,spleen", **options}))

    ours, theirs = answered(clip_seen=0.0, clip_unseen=0.0), answered(clip_seen=1.0, clip_unseen=1.0)
    torch.testing.assert_close(ours[..., -1], theirs[..., -1])  # nothing is nothing
    there = 1 - ours[..., -1:]
    weight = torch.tensor([0.3, 0.7, 0.3])  # liver, spleen, background
    mean = (ours[..., :-1] / there) ** (1 - weight) * (theirs[..., :-1] / there) ** weight
    expected = mean / mean.sum(-1, keepdim=True) * there
    torch.testing.assert_close(answered()[..., :-1], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(answered().sum(-1), torch.ones(1, 4))
    captions = worded(supervision="captions")
    assert captions.lexicon.shares == (0.35, 0.65)


def test_a_caption_is_made_of_what_clip_sees(
    worded: Callable[..., Odise], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = worded(features=str(folder(tmp_path / "theirs", latent=True)), size=16)
    assert model.captioner is not None
    with torch.no_grad():
        model.captioner.gate.fill_(1.0)
    found = list[dict[str, Tensor]]()
    for word in ("liver", "spleen"):
        monkeypatch.setattr(FakeClip, "seen", word)
        found.append(model.reader.maps(tiles(TWO_SQUARES, image=images(side=8))))
    same = {name for name, one in found[0].items() if torch.equal(one, found[1][name])}
    assert {"encoder 0", "encoder 1", "decoder 0", "decoder 1"} <= same, "the prompt is that of the U-Net alone"
    assert not any(name.startswith("U-Net 1") for name in same)
    assert isinstance(model.network, nn.Module)
    model.network.prompt = torch.ones_like(model.network.prompt)  # type: ignore[arg-type]  # as `to(device)` does
    moved_on = model.reader.maps(tiles(TWO_SQUARES, image=images(side=8)))
    assert not torch.equal(moved_on["U-Net 1"], found[1]["U-Net 1"]), "the prompt of the model counts"


class FakePrompts(nn.Module):
    """A prompt of its own for each text."""

    def __init__(self, folder: Path, *, tokens: int, features: int) -> None:
        super().__init__()
        self.shape = tokens, features

    def forward(self, texts: Sequence[str]) -> Tensor:
        seeds = [int.from_bytes(text.encode(), "big") % 2**31 for text in texts]
        each = [torch.randn(self.shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(each)


def test_a_model_is_told_the_caption_of_an_image_or_the_names_that_clip_finds_likest(
    worded: Callable[..., Odise], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = str(folder(tmp_path / "theirs", latent=True))
    with pytest.raises(SettingsError, match="has no folders text_encoder and tokenizer, which make a prompt of words"):
        odise(features=place, size=16, captioner="text")
    with pytest.raises(SettingsError, match=r"there is no CLIP; name one with --settings.text FOLDER"):
        odise(features=place, size=16, captioner="heuristic")
    monkeypatch.setattr(odise_captions, "PromptEncoder", FakePrompts)
    model = odise(features=place, size=16, captioner="text")
    one, other = torch.arange(1), Inference(seed=0, options=model.segment_options(OdiseOptions()))

    def answer(captions: tuple[str, ...]) -> Tensor:
        with torch.no_grad():
            found = model.segment(Batch(one, one, {"image": images()}, captions=captions), other).probabilities
        assert found is not None
        return found

    assert not torch.equal(answer(("a liver",)), answer(("a tumour",)))
    assert torch.equal(answer(()), answer(("",))), "who has no caption is told nothing"
    slices, said = torch.arange(3), ("a liver",) * 3
    volume = Batch(slices, torch.zeros(3), {"image": images(3)}, captions=said)
    one_by_one = replace(other, tile=lambda network, canvas: torch.cat([network(row[None]) for row in canvas]))
    with torch.no_grad():
        whole, apart = (model.segment(volume, how).probabilities for how in (other, one_by_one))
    torch.testing.assert_close(whole, apart)
    assert model.settings.captioner == "text"
    monkeypatch.setattr(FakeClip, "seen", "tumour")
    heuristic = worded(features=place, size=16, captioner="heuristic")
    batch = tiles(TWO_SQUARES, image=images(side=8))
    assert likest_names(batch, heuristic.lexicon) == ["a photo of a tumour, liver."]
    told = heuristic.reader.maps(batch)
    monkeypatch.setattr(FakeClip, "seen", "liver")
    assert likest_names(batch, heuristic.lexicon) == ["a photo of a liver, tumour."]
    assert not torch.equal(told["U-Net 1"], heuristic.reader.maps(batch)["U-Net 1"])


def test_a_text_encoder_of_the_user_makes_prompts(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    letters = ["<|startoftext|>", "<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz.,", *(f"{c}</w>" for c in "aliver.")]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(letters))}
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    facts = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPTextConfig(vocab_size=len(vocabulary), max_position_embeddings=16, **facts)
    transformers.CLIPTextModel(config).save_pretrained(tmp_path / "text_encoder")
    encoder = PromptEncoder(tmp_path, tokens=5, features=8).eval()
    prompts = encoder(["a liver.", "liver " * 9, ""])
    assert prompts.shape == (3, 5, 8)
    assert not torch.equal(prompts[0], prompts[2])
    with pytest.raises(FileError, match="makes prompts of 8 features"):
        PromptEncoder(tmp_path, tokens=5, features=9)


def test_features_of_large_images_are_read_in_squares_that_cover_them() -> None:
    seen = list[tuple[int, ...]]()

    def read(batch: Batch) -> dict[str, Tensor]:
        seen.append(tuple(batch.image.shape[2:]))
        return {"half": F.avg_pool2d(batch.image, 2), "quarter": F.avg_pool2d(batch.image, 4)}

    image, none = torch.rand(2, 3, 24, 40), torch.arange(2)
    found = sliding(read, 16)(Batch(none, none, {"image": image}))
    for name, whole in read(Batch(none, none, {"image": image})).items():
        torch.testing.assert_close(found[name], whole)  # what is local is the same, however often it was seen
    assert seen[:-1] == [(16, 16)] * 6
    small = Batch(none, none, {"image": image[:, :, :16, :12]})
    assert all(torch.equal(one, read(small)[name]) for name, one in sliding(read, 16)(small).items())
    assert starts(1024, 512) == [0, 512]
    assert starts(768, 512) == [0, 256]
    assert starts(40, 16) == [0, 12, 24]
    wide = odise(size=None, longest=16, tile=8)
    assert starts(1000, 224)[-1] == 776
    odd = torch.rand(1, 3, 60, 97)  # neither side is so many whole cells
    for stride in (8, 14):
        maps = sliding(lambda batch, s=stride: {"map": F.avg_pool2d(batch.image, s)}, 56)(
            Batch(none, none, {"image": odd})
        )
        assert float(maps["map"].min()) > 0.2, "each cell has been seen"
    whole = OdiseSettings().model_dump()
    assert OdiseSettings.model_validate(whole).tile == 512
    del whole["tile"]
    assert OdiseSettings.model_validate(whole).tile is None, "a model of an earlier version"
    assert OdiseSettings.preset("quick", {"steps": 3}).tile == 512
    assert asked(wide, images()).probabilities.shape == (1, 2, 16, 16)


def test_captions_teach_words_and_masks_only_that_they_are_there(worded: Callable[..., Odise]) -> None:
    model = worded(supervision="captions")
    mask = F.interpolate(TWO_SQUARES.float(), (16, 16), mode="nearest").to(torch.uint8).expand(2, -1, -1, -1)
    said = {"ids": ("a", "b"), "captions": ("liver, vessel", "tumour")}
    terms = moved(model, tiles(mask, image=images(2), **said))
    assert set(terms) == {"class", "mask", "dice", "grounding"}
    assert float(terms["grounding"]) > 0
    assert model.lexicon.objectness is not None
    assert float(model.lexicon.objectness.weight.grad.abs().sum()) > 0  # type: ignore[union-attr]
    swapped = torch.where(mask == 1, 2, torch.where(mask == 2, 1, mask)).to(torch.uint8)
    for name, value in moved(model, tiles(swapped, image=images(2), **said)).items():
        torch.testing.assert_close(value, terms[name])  # which class a mask has is not read
    with pytest.raises(DataError, match="b: has no caption, from which"):
        moved(model, tiles(mask, image=images(2), ids=("a", "b"), captions=("liver", "")))
    assert nouns_of("a", " liver ,Liver,, Big  cell") == ("Liver", "Big  cell")
    total = asked(model, images(), vocabulary="liver,vessel").probabilities
    assert total.shape == (1, 2, 16, 16)


def test_a_vocabulary_knows_which_words_were_learned() -> None:
    found = Vocabulary.of(("spleen|milt", "LIVER"), ("liver", "tumour"))
    assert (found.names, found.learned, found.unseen) == (("spleen", "LIVER"), (None, 0), ("spleen",))
    assert found.labels.exclusive


def clip_folder(place: Path) -> Path:
    """A tiny CLIP as transformers saves it, with a tokenizer that knows single letters."""
    transformers = pytest.importorskip("transformers", reason="transformers is an extra and not installed")
    torch.manual_seed(0)
    shared = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**shared, "vocab_size": 80, "max_position_embeddings": 32, "eos_token_id": 79, "bos_token_id": 78},
        vision_config={**shared, "image_size": 16, "patch_size": 4}, projection_dim=6,
    )  # fmt: skip
    transformers.CLIPModel(config).save_pretrained(place)
    letters = "abcdefghijklmnopqrstuvwxyz. |"
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {word: number for number, word in enumerate(words)}
    vocabulary |= {"<|startoftext|>": 78, "<|endoftext|>": 79}
    (place / "vocab.json").write_text(json.dumps(vocabulary))
    (place / "merges.txt").write_text("#version: 0.2\n")
    (place / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer"}')
    return place


def test_a_clip_of_the_user_embeds_words_images_and_masks(tmp_path: Path) -> None:
    place = clip_folder(tmp_path / "clip")
    clip = ClipFolder(place).eval()
    words = clip.words(["liver", "a spleen", "liver"])
    torch.testing.assert_close(words[0], words[2])
    torch.testing.assert_close(words.norm(dim=1), torch.ones(3))
    picture = images(2)
    pixels = F.interpolate(picture, (16, 16), mode="bicubic", antialias=True)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    normed = ((pixels + 1).clamp(0, 2) / 2 - mean) / deviation
    with torch.no_grad():
        seen = clip.clip.visual_projection(clip.clip.vision_model(pixel_values=normed)[1])
    torch.testing.assert_close(clip.image(picture), F.normalize(seen, dim=1), atol=1e-5, rtol=1e-4)
    everywhere = clip.masks(picture, torch.ones(2, 3, 8, 8))
    left, right = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    left[..., :4], right[..., 4:] = 1, 1
    one, other = clip.masks(picture, left), clip.masks(picture, right)
    assert everywhere.shape == (2, 3, 6)
    assert not torch.allclose(one, other)
    torch.testing.assert_close(clip.masks(picture, torch.cat([left, right], 1)), torch.cat([one, other], 1))
    torch.testing.assert_close(clip.masks(picture, torch.zeros(2, 3, 8, 8)), everywhere)  # an empty mask sees all
    of_left = clip.masks(torch.cat([picture[..., :8], torch.zeros(2, 3, 16, 8)], 3), left)
    assert not torch.allclose(of_left, other)


def test_words_of_a_clip_of_the_user_are_asked_for_and_saved(tmp_path: Path) -> None:
    place = clip_folder(tmp_path / "clip")
    model = odise(text=place)
    answer = asked(model, images(), vocabulary="liver,spleen")
    assert answer.probabilities.shape == (1, 2, 16, 16)
    save_model(model, tmp_path / "model")
    again = asked(load_model(tmp_path / "model"), images(), vocabulary="liver,spleen")  # type: ignore[arg-type]
    assert torch.equal(again.probabilities, answer.probabilities)


def test_a_folder_that_is_no_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="holds no model of transformers"):
        ClipFolder(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(FileError, match="holds a BertModel; expected a CLIPModel"):
        ClipFolder(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["CLIPModel"], "model_type": "clip"}')
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises((FileError, SettingsError), match=r"is no CLIP|needs transformers"):
        ClipFolder(tmp_path)
