from __future__ import annotations

from torch import nn

from marblecli.planning.stacks import keep, kinds, shorten


class Network(nn.Module):
    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.first = nn.ModuleList(nn.Linear(width, width) for width in widths)
        self.second = nn.ModuleList([nn.Tanh()])


def test_three_of_equal_neighbours_stay() -> None:
    network = Network(4, 4, 4, 4, 4, 8, 8, 8, 4, 4, 4, 4)
    blocks = list(network.first)
    (one, other) = shorten(network, blocks)
    kept = [blocks[place] for place in (0, 1, 4, 5, 6, 7, 8, 9, 11)]
    assert list(network.first) == kept
    assert (one.typical, one.last, one.missing) == (1, 2, 2)
    assert (other.typical, other.last, other.missing) == (7, 8, 1)
    assert [kept[place] for place in (1, 2, 7, 8)] == [blocks[place] for place in (1, 4, 9, 11)]
    assert len(network.second) == 1


def test_blocks_of_other_sizes_or_layers_arent_equal() -> None:
    network = Network(4, 4, 8, 4, 4)
    assert shorten(network, list(network.first)) == []
    assert len(network.first) == 5


def test_so_many_blocks_of_each_kind_are_kept() -> None:
    network = Network(4, 4, 4, 8, 4, 4)
    blocks = list(network.first)
    assert kinds(blocks) == [3, 1, 2]
    keep(network, blocks, [2, 1, 1])
    assert list(network.first) == [blocks[place] for place in (0, 1, 3, 4)]
