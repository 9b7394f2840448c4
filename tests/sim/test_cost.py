"""Simulated seconds are cheap: a thousand hours must fit into an evening."""

import time

import numpy as np

from tidegate.sim import Episode, Run

MOST_MS = 0.7
"""CPU per second with 20 canaries, 20 controls and 20 nodes beside them."""


def test_a_pane_of_sixty_nodes_costs_less_than_its_limit():
    run = Run(Episode(canaries=20, past=None, history_s=60), np.random.default_rng(1))
    for second in run.prelude():
        second.pane((40, 44, 48, 52, 56, 60))
    began_s = time.process_time()
    for second in run.rollout(300):
        second.pane((40, 44, 48, 52, 56, 60))
    assert 1_000 * (time.process_time() - began_s) / 300 < MOST_MS
