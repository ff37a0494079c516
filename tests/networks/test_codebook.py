"""The codebook: nearest codes against all distances, moving averages in closed form, dead codes."""

from __future__ import annotations

import pytest
import torch

from scantling.core.errors import ArrayError
from scantling.networks import Codebook, VQAutoencoder
from scantling.networks import codebook as module
from scantling.networks.codebook import nearest_codes


@pytest.mark.parametrize("at_once", [1, 40, 1 << 22])
def test_nearest_codes_are_those_of_all_distances_however_many_rows_are_held(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    vectors, codes = torch.randn(50, 8, dtype=torch.float64), torch.randn(33, 8, dtype=torch.float64)
    assert torch.equal(nearest_codes(vectors, codes), torch.cdist(vectors, codes).argmin(1))


def test_a_code_is_its_own_nearest_and_equal_codes_give_the_first() -> None:
    codes = torch.randn(9, 4)
    codes[7] = codes[2]
    assert nearest_codes(codes, codes).tolist() == [0, 1, 2, 3, 4, 5, 6, 2, 8]
    with pytest.raises(ArrayError, match=r"\(N, C\) and \(K, C\)"):
        nearest_codes(codes, codes[:, :3])


def test_the_codes_begin_as_vectors_of_the_data() -> None:
    book, vectors = Codebook(6, 3), torch.randn(20, 3)
    book.begin(vectors, torch.Generator().manual_seed(0))
    assert all(any(torch.equal(code, vector) for vector in vectors) for code in book.codes)
    with pytest.raises(ArrayError, match="5 vectors for 6 codes"):
        book.begin(vectors[:5], torch.Generator())


def test_codes_follow_moving_averages_and_only_dead_ones_begin_anew() -> None:
    book = Codebook(3, 2, decay=0.5, restart=0.6)  # of 3 vectors for 3 codes a code is dead below one half
    book.begin(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]), torch.Generator().manual_seed(0))
    before = book.codes.clone()
    z = torch.cat([before[0] + 1, before[0] + 3, before[1]]).view(1, 3, 2).movedim(1, 2)  # (1, 2, 3)
    numbers = book(z)[1]
    assert numbers.tolist() == [[0, 0, 1]]
    vectors = torch.tensor([[7.0, 7.0]])
    assert book.move(book.statistics(z, numbers), vectors, torch.Generator()) == 0
    # N = (1 + 2) / 2, m = (e + e + 1 + e + 3) / 2: e + 4/3; codes that keep their vectors stay
    torch.testing.assert_close(book.codes[0], before[0] + 4 / 3)
    torch.testing.assert_close(book.codes[1:], before[1:])
    # N of the third code was 1 / 2 and is 1 / 4 now
    assert book.move(book.statistics(z, numbers), vectors, torch.Generator()) == 1
    torch.testing.assert_close(book.codes[1], before[1])
    assert torch.equal(book.codes[2], vectors[0])
    assert float(book.counts[2]) == 1


def test_gradients_pass_the_codebook_unchanged_and_answers_leave_it_alone() -> None:
    network = VQAutoencoder(1, width=4, down=(1, 2, 2), code=3, codes=5)
    before = {name: tensor.clone() for name, tensor in network.codebook.state_dict().items()}
    z = torch.randn(1, 3, 2, 2, 2, requires_grad=True)
    quantised, _ = network.codebook(z)
    (z + (quantised - z).detach()).sum().backward()
    assert torch.equal(z.grad, torch.ones_like(z))  # type: ignore[arg-type]
    for mode in (True, False):
        network.train(mode)
        network(torch.randn(1, 1, 2, 4, 4))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.codebook.state_dict().items())
