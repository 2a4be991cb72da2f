"""The verb `run` as a Ray job: `ray job submit --working-dir . -- python jobs/run.py -c configs/quickstart.yaml key=value`."""

import sys

from xmr_ray.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
