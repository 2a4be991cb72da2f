"""The verb `score` as a Ray job: `ray job submit --working-dir . -- python jobs/score.py -c configs/quickstart.yaml key=value`."""

import sys

from xmr_ray.cli import main

if __name__ == "__main__":
    main(["score", *sys.argv[1:]])
