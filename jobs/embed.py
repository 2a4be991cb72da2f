"""The verb `embed` as a Ray job: `ray job submit --working-dir . -- python jobs/embed.py -c configs/quickstart.yaml key=value`."""

import sys

from xmr_ray.cli import main

if __name__ == "__main__":
    main(["embed", *sys.argv[1:]])
