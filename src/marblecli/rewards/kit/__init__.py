"""The parts of the contract kit; plugin authors import :mod:`marblecli.rewards.testing`."""
