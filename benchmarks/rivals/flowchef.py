"""One trajectory, corrected at the end that each window predicts; the flow itself is not differentiated.

Patel et al., FlowChef, arXiv 2412.00100; the rule `single_pass` of this repository, on the plain picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rectifid_core.interfaces import Observation
from rectifid_core.solver.solve import solve
from rivals.guided import Guided


@dataclass
class FlowChef(Guided):
    scale: float = 2.0
    name: ClassVar[str] = "flowchef"

    def draw(self, world, flow, look, noise):
        def energy(image, iteration):
            like = look(image)
            return Observation(100 * (1 - like), like.detach())

        settings = {"rule": "single_pass", "scale": self.scale, "iterations": self.iterations}
        *_, last = solve(flow, world.decode, energy, noise, **settings)
        return last.image
