"""The verb `tune` as a Ray job: `ray job submit --working-dir . -- python jobs/tune.py -c configs/tune_quickstart.yaml key=value`."""

import sys

from xmr_ray.cli import main

if __name__ == "__main__":
    main(["tune", *sys.argv[1:]])
