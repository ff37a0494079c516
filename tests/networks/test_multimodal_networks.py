"""The networks of the multimodal GAN and its rivals: what they see, and what they cannot."""

from __future__ import annotations

import pytest
import torch

from scantling.core.errors import ArrayError, SettingsError
from scantling.networks import ModalityUNet, VGGJudge, VGGTrunk
from scantling.networks.vgg import region_means


def test_the_trunk_halves_as_often_as_it_has_stages_and_knows_brightness() -> None:
    trunk = VGGTrunk(2, width=4, stages=4)
    image = torch.rand(1, 2, 37, 50)
    assert trunk(image).shape == (1, 32, 3, 4) == (1, 32, *trunk.side((37, 50)))
    assert VGGTrunk(2, width=4, stages=5)(torch.rand(1, 2, 7, 9)).isfinite().all()  # down to a single pixel
    plain = VGGTrunk(1, width=4, stages=3, norm=False)
    assert not torch.allclose(plain(image[:, :1]), plain(3 * image[:, :1]))
    with pytest.raises(SettingsError, match="stages"):
        VGGTrunk(1, stages=0)
    with pytest.raises(ArrayError):
        trunk(image[:, :1])


def test_vgg11_has_eight_convolutions_in_five_stages() -> None:
    trunk = VGGTrunk(3, width=2, stages=5)
    assert sum(isinstance(module, torch.nn.Conv2d) for module in trunk.modules()) == 8
    assert trunk.widths == [2, 4, 8, 16, 16]  # 64, 128, 256, 512, 512 of the paper


def test_a_judge_has_a_second_head_only_where_there_are_classes() -> None:
    image = torch.rand(2, 1, 20, 24)
    patches, logits = VGGJudge(1, width=2, stages=2, classes=3)(image)
    assert patches.shape == (2, 1, 5, 6)
    assert logits.shape == (2, 3)
    assert VGGJudge(1, width=2, stages=2)(image)[1].shape == (2, 0)


def test_the_second_head_sees_where_a_normed_map_is_bright() -> None:
    torch.manual_seed(0)
    judge = VGGJudge(1, width=4, stages=3, classes=2).eval()
    image = torch.zeros(1, 1, 32, 32)
    image[..., :16, :] = 1
    logits = [judge(one)[1] for one in (image, image.flip(2))]
    assert (logits[0] - logits[1]).abs().max() > 0.05  # of the mean of the whole map: less than a tenth of that
    x = torch.rand(2, 3, 5, 9, dtype=torch.float64)
    for count in (1, 3, 4, 7):
        assert torch.allclose(region_means(x, count), torch.nn.functional.adaptive_avg_pool2d(x, count))


def test_the_planes_of_the_modality_are_constant_and_change_the_image() -> None:
    torch.manual_seed(0)
    net = ModalityUNet(2, modalities=3, widths=(4, 4, 4, 4))
    planes = net.planes(torch.tensor([0, 2]), torch.zeros(2, 4, 3, 5))
    assert planes.flatten(2).std(2).eq(0).all()
    assert planes[:, :, 0, 0].tolist() == [[1, 0, 0], [0, 0, 1]]
    image = torch.rand(1, 2, 21, 26)
    first, second = (net(image, torch.tensor([number])) for number in (0, 1))
    assert first.shape == (1, 1, 21, 26)
    assert (first - second).abs().mean() > 0.01  # as PyTorch begins a convolution it would be a tenth of that
    several = torch.cat([image, image.flip(2)])
    number = torch.tensor([0, 1, 2, 0, 1, 2])
    alone = net(several.repeat_interleave(3, 0), number)
    assert torch.allclose(net(several, number), alone, atol=1e-5)  # the encoder sees each image once
    with pytest.raises(ArrayError, match="modality"):
        net(image)
    with pytest.raises(ArrayError, match="modality"):
        net(several, torch.tensor([0, 1, 2]))
    assert ModalityUNet(1, widths=(4, 4))(image[:, :1]).abs().max() <= 1
