"""The Grid for rounds, from whatever Grid an app hands on."""

from oneflower.flower.api import Grid, GrpcGrid
from oneflower.flower.grid import RoundGrid
from oneflower.flower.packing_grid import PackingGrid
from oneflower.flower.reply_grid import ReplyGrid


class OuterGrid(Grid):
    """A Grid that an app is given in place of Flower's, which rounds of ours take out again."""

    def hand_over(self) -> Grid:
        """Return Flower's Grid; what is sent from then on does not go through this one."""
        raise NotImplementedError


def limited(grid: Grid, max_update_bytes: int) -> Grid:
    """Return a grid with limits of what is read of a reply, and packed arrays, around that of a cluster."""
    return PackingGrid(ReplyGrid(grid, max_update_bytes)) if isinstance(grid, GrpcGrid) else grid


def round_grid(grid: Grid, max_update_bytes: int) -> RoundGrid:
    """Return a grid for rounds around the one that an app was given."""
    if isinstance(grid, OuterGrid):
        grid = grid.hand_over()
    return grid if isinstance(grid, RoundGrid) else RoundGrid(limited(grid, max_update_bytes))
