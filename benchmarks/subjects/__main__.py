"""One stage of the training, in the folder that RECTIFID_DEMO_CACHE names; see `training`."""

from __future__ import annotations

import argparse

from data import CACHE

from . import detector, pictures, recognisers, text


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=("pictures", "text", "detector", "guide", "judge"))
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--families", type=int, default=1_000)
    parser.add_argument("--couples", type=int, default=5_000)
    arguments = parser.parse_args()
    if arguments.stage == "pictures":
        pictures.build(CACHE, arguments.families, arguments.couples)
    elif arguments.stage == "text":
        text.train(arguments.minutes)
    elif arguments.stage == "detector":
        detector.train(arguments.minutes)
    else:
        recognisers.train(arguments.stage, arguments.minutes)


if __name__ == "__main__":
    main()
